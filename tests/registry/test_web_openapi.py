"""The description of what the registry answers over HTTP, and whether it is true: schemathesis asks by it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from http.client import HTTPResponse
from io import BytesIO
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.openapi import format as register_format
from twisted.web.resource import Resource

from deployd.registry.openapi import DESCRIPTION, PATHS, SCHEMAS
from deployd.registry.web import Ports, root
from tests.registry.rows import COMMIT, OTHER, row
from tests.registry.web import WebCase, gone

EXAMPLES = 300 if os.environ.get("DEPLOYD_SOAK") else 8

BASE = "http://registry.example"

_RANGES = st.sampled_from(["", "@*", "@^1.2", "@>=1.0.0 <2 || 3.x", "@~0.1.0", "@1.2.3 - 2"])
register_format("role-range", st.builds(str.__add__, st.sampled_from(["say", "http", "none"]), _RANGES))
register_format("near", st.sampled_from([OTHER, "mine", "webapp:v1", "webapp:v2", "team/webapp:v12"]))


def routes(resource: Any, path: str = "") -> Iterator[str]:
    """The paths under ``resource`` at which there is something."""
    if type(resource).__name__ != "JsonResource":
        yield path
    if isinstance(resource, Ports):
        yield f"{path}/{{commit}}"
    for name, child in resource.children.items():
        yield from routes(child, f"{path}/{name.decode()}")


def _is_flat(case: Case) -> bool:
    """An object as a value is one key more, ``meta.KEY[KEY]``, once it is sent: nothing is wrong with that any more."""
    return not any(isinstance(value, dict) or "[" in name for name, value in (case.query or {}).items())


class DescriptionTests(WebCase):
    def test_has_every_path_and_no_other(self) -> None:
        tree: Resource = root(self.registry, self.clock)
        self.assertEqual(sorted(routes(tree)), sorted(PATHS))

    def test_is_openapi(self) -> None:
        schemathesis.openapi.from_dict(DESCRIPTION).validate()

    def test_is_served(self) -> None:
        self.assertEqual(self.get("/v1/openapi.json"), (200, DESCRIPTION))

    def test_has_the_parameters_that_each_path_takes(self) -> None:
        for path, operations in PATHS.items():
            sentence = self.get(f"{path.format(commit=COMMIT)}?unknown=1")[1]["error"]
            told = set(re.findall(r"[a-z.A-Z]+", sentence.partition("there are ")[2])) - {"none"}
            said = {one["name"] for one in operations["get"]["parameters"] if one["in"] == "query"}
            self.assertEqual(said, {name.partition(".")[0] for name in told}, path)

    def test_has_every_key_of_a_row(self) -> None:
        self.put(row())
        (found,) = self.get("/v1/services")[1]
        self.assertEqual(list(SCHEMAS["Row"]["properties"]), list(found))

    def test_refers_to_nothing_that_is_not_there(self) -> None:
        names = set(re.findall(r"#/components/schemas/([A-Za-z]+)", repr(DESCRIPTION)))
        self.assertEqual(names - set(SCHEMAS), set())


class ConformanceTests(WebCase):
    """What schemathesis makes of the description, right and wrong, through real bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.registry.startService()
        self.addCleanup(self.registry.stopService)
        self.put(
            row("a", role="say", version="1.2.3", meta={"zone": "b", "list": [None, 1.5]}),
            row("b", namespace=OTHER, release="v2"),
        )
        self.hosts = count()

    def test_is_kept_for_whatever_is_asked(self) -> None:
        schema = schemathesis.openapi.from_dict(DESCRIPTION)
        for result in schema.get_all_operations():
            operation = result.ok()
            self.hold(operation.as_strategy())
            if any(operation.iter_parameters()):
                self.hold(operation.as_strategy(GenerationMode.NEGATIVE).filter(_is_flat))

    def hold(self, cases: st.SearchStrategy[Case]) -> None:
        @settings(
            max_examples=EXAMPLES, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
        )
        @given(cases)
        def check(case: Case) -> None:
            response = self.response(case)
            # What is longer than a request may be is refused before anybody looks at it.
            if response.status_code != 431:
                case.validate_response(response)

        check()

    def response(self, case: Case) -> schemathesis.Response:
        asked = requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()
        host = f"10.0.{next(self.hosts) % 50}.1"
        url = urlsplit(asked.url)
        path = url.path + (f"?{url.query}" if url.query else "")
        more = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
        transport = self.ask(path, asked.method, host=host, more=more)
        if asked.body:
            self.channel.dataReceived(asked.body if isinstance(asked.body, bytes) else asked.body.encode())
        self.clock.pump([0] * 5)
        if b"text/event-stream" in transport.value():
            self.registry.stopService()
            self.registry.startService()
        self.clock.advance(60)
        self.channel.connectionLost(gone())
        return answered(asked, transport.value())


def answered(asked: requests.PreparedRequest, data: bytes) -> schemathesis.Response:
    """The answer in ``data``."""

    class Wire:
        def makefile(self, mode: str) -> BytesIO:
            return BytesIO(data)

    parsed = HTTPResponse(Wire(), method=asked.method)  # type: ignore[arg-type]
    parsed.begin()
    headers = {name.lower(): [value] for name, value in parsed.getheaders()}
    return schemathesis.Response(parsed.status, headers, parsed.read(), asked, elapsed=0.0, verify=False)
