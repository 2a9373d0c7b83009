"""``deployctl query``: what is asked, what comes, and how it reads."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.query_rows import queried
from deployd.cli.query_words import FIELDS, Pattern, field_line, fields, metadata, query_table, taken
from deployd.cli.rendering import plain
from deployd.errors import Unreachable, UsageError
from deployd.model.invalid import Invalid
from deployd.wire.paging import PAGE_BYTES
from tests.cli.commands import deployctl
from tests.cli.registries import RegistryBench, row

COMMIT = "74336bc1db98478e02e69f59e7100895be207389"


class WordTests(SynchronousTestCase):
    def test_metadata_is_json_where_it_can_be_and_text_otherwise(self) -> None:
        words = ["n=1", "t=true", "s=web one", 'q="1"', 'o={"a": [1]}', "e=", "eq=a=b", "nan=NaN", "deep=" + "[" * 5000]
        self.assertEqual(
            metadata(words),
            {
                "n": 1,
                "t": True,
                "s": "web one",
                "q": "1",
                "o": {"a": [1]},
                "e": "",
                "eq": "a=b",
                "nan": "NaN",
                "deep": "[" * 5000,
            },
        )

    def test_metadata_that_is_none_is_refused(self) -> None:
        for words in (["x"], ["=1"], ["a=1", "a=2"]):
            self.assertRaises(UsageError, metadata, words)

    def test_a_role_that_is_none_is_refused_here(self) -> None:
        self.assertRaises(Invalid, Pattern.parse, "a b@1")
        self.assertEqual(Pattern.parse("http@>=1 <2").rows.match, "http@>=1 <2")

    def test_fields_are_those_of_a_row_and_keys_of_its_metadata(self) -> None:
        self.assertEqual(fields("host, port,meta.zone"), ("host", "port", "meta.zone"))
        self.assertEqual(fields(",".join(FIELDS)), FIELDS)
        for wrong in ("hosts", "host,", "meta."):
            self.assertRaises(UsageError, fields, wrong)

    def test_a_row_gives_its_fields_with_tabs_between_them(self) -> None:
        document = {"host": "h\tx\x1b[31m", "port": 80, "meta": {"zone": "eu", "n": [1]}}
        names = ("host", "port", "meta.zone", "meta.n", "meta.none", "app")
        self.assertEqual(field_line(document, names), "h x\N{REPLACEMENT CHARACTER}[31m\t80\teu\t[1]\t\t")
        self.assertEqual(taken(document, ("port", "meta.none")), {"port": 80, "meta.none": None})

    def test_the_table_says_whose_owner_is_away(self) -> None:
        document = {"id": "w1", "namespace": COMMIT, "role": "http", "host": "::1", "port": 80, "marked": True}
        header, line = plain(query_table([document])).splitlines()
        self.assertEqual(
            header.split(), ["ROLE", "VERSION", "ADDRESS", "NAMESPACE", "APP", "RELEASE", "META", "ID", "STATE"]
        )
        self.assertEqual(line.split(), ["http", "[::1]:80", "74336bc", "w1", "away"])


class UsageTests(SynchronousTestCase):
    def test_wrong_usage_is_one_sentence_and_exit_2(self) -> None:
        for arguments in (
            ["query", "a b"],
            ["query", "http", "--meta", "zone"],
            ["query", "http", "--field", "colour"],
            ["query", "http", "--wait", "0"],
            ["query", "http", "--app", "../x"],
            ["watch", "a b"],
            ["watch", "--since", "yesterday"],
        ):
            ran = deployctl(*arguments)
            self.assertEqual((ran.code, len(ran.error.splitlines())), (2, 1), (arguments, ran))


class QueryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = RegistryBench()
        self.addCleanup(self.bench.close)
        self.owner = self.bench.owner()

    def ids(self, *words: Any, near: str = "", wait: float = 0.0, **more: Any) -> list[str]:
        asked = Pattern.parse(*words, **more)
        return [found["id"] for found in self.successResultOf(self.start(asked, near, wait))]

    def start(self, asked: Pattern, near: str = "", wait: float = 0.0) -> Deferred[Any]:
        return self.bench.start(queried(self.bench.cluster, asked, near, wait))

    def test_rows_come_by_role_range_and_metadata(self) -> None:
        self.bench.put(
            self.owner,
            row("a", meta={"zone": "eu", "n": 1}),
            row("b", version="2.0.0", meta={"zone": "us"}),
            row("c", role="say"),
        )
        self.assertEqual(self.ids(), ["a", "b", "c"])
        self.assertEqual(self.ids("http@^1"), ["a"])
        self.assertEqual(self.ids("http", meta=["zone=us"]), ["b"])
        self.assertEqual(self.ids(None, meta=["n=1"]), ["a"])
        self.assertEqual(self.ids("nothing"), [])

    def test_those_near_come_first(self) -> None:
        self.bench.put(self.owner, row("a"), row("b", namespace="other"))
        self.assertEqual(self.ids("http", near="other"), ["b", "a"])

    def test_all_pages_are_read(self) -> None:
        filler = {"x": "y" * 3000}
        count = PAGE_BYTES // 3000 + 3
        self.bench.put(self.owner, *(row(f"a{number:02}", meta=filler) for number in range(count)))
        self.assertEqual(len(self.ids("http")), count)

    def test_a_row_is_what_the_contract_says_and_more(self) -> None:
        self.bench.put(self.owner, row("a", meta={"zone": "eu"}))
        (found,) = self.successResultOf(self.start(Pattern.parse("http")))
        keys = {"id", "namespace", "role", "version", "host", "port", "meta", "owner", "revision"}
        self.assertLessEqual(keys, set(found))
        self.assertLessEqual(set(found), set(FIELDS))
        json.dumps(found)

    def test_a_range_that_is_none_is_the_registrys_to_say(self) -> None:
        self.failureResultOf(self.start(Pattern.parse("http@^^1")), UsageError)

    def test_waiting_ends_with_the_row(self) -> None:
        waiting = self.start(Pattern.parse("http"), wait=100.0)
        self.bench.network.advance(70)
        self.assertNoResult(waiting)
        self.bench.put(self.owner, row("a"))
        self.assertEqual([found["id"] for found in self.successResultOf(waiting)], ["a"])

    def test_or_without_any_once_the_time_is_over(self) -> None:
        waiting = self.start(Pattern.parse("http"), wait=70.0)
        self.bench.network.advance(69)
        self.assertNoResult(waiting)
        self.bench.network.advance(2)
        self.assertEqual(self.successResultOf(waiting), [])

    def test_waiting_outlasts_a_restart_of_the_registry(self) -> None:
        waiting = self.start(Pattern.parse("http"), wait=100.0)
        self.bench.network.up = False
        self.bench.network.restart()
        self.bench.network.advance(5)
        self.assertNoResult(waiting)
        self.bench.network.up = True
        self.bench.network.advance(5)
        self.bench.put(self.owner, row("a"))
        self.assertEqual([found["id"] for found in self.successResultOf(waiting)], ["a"])

    def test_but_not_its_end(self) -> None:
        waiting = self.start(Pattern.parse("http"), wait=10.0)
        self.bench.network.up = False
        self.bench.network.cut()
        self.bench.network.advance(11)
        self.failureResultOf(waiting, Unreachable)

    def test_a_registry_that_is_down_is_not_waited_for(self) -> None:
        self.bench.network.up = False
        self.failureResultOf(self.start(Pattern.parse("http"), wait=10.0), Unreachable)
