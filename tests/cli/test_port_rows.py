"""`ports`: what is asked, and the two shapes of the answer."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.port_rows import PortFilter, port_document, port_table
from deployd.cli.rendering import plain
from deployd.errors import UsageError
from tests.cli.scripted_hub import COMMIT


def row(role: str, port: int, host: str = "127.0.0.1", namespace: str = COMMIT) -> dict[str, Any]:
    return {
        "id": f"{role}-{port}",
        "namespace": namespace,
        "app": "webapp",
        "release": "v1",
        "role": role,
        "version": "",
        "host": host,
        "port": port,
        "drone": "d1",
        "meta": {},
        "owner": "o",
        "revision": 7,
    }


class DocumentTests(SynchronousTestCase):
    def test_is_exactly_the_shape_of_the_walk_through(self) -> None:
        self.assertEqual(
            port_document([row("http", 15194), row("say", 13308)], long=False),
            {
                COMMIT: {
                    "http": [{"host": "127.0.0.1", "port": 15194}],
                    "say": [{"host": "127.0.0.1", "port": 13308}],
                }
            },
        )

    def test_long_adds_keys_and_changes_none(self) -> None:
        document = port_document([row("http", 1)], long=True)
        self.assertEqual(
            document[COMMIT]["http"],
            [
                {
                    "host": "127.0.0.1",
                    "port": 1,
                    "id": "http-1",
                    "app": "webapp",
                    "release": "v1",
                    "drone": "d1",
                    "version": "",
                    "meta": {},
                    "owner": "o",
                    "revision": 7,
                }
            ],
        )

    def test_no_row_is_an_empty_object(self) -> None:
        self.assertEqual(port_document([], long=True), {})

    def test_the_table_writes_addresses_as_curl_takes_them(self) -> None:
        text = plain(port_table([row("http", 1), row("say", 2, "::1")], long=False))
        self.assertIn("127.0.0.1:1", text)
        self.assertIn("[::1]:2", text)


class FilterTests(SynchronousTestCase):
    def test_hex_is_a_commit_or_its_prefix(self) -> None:
        self.assertEqual(PortFilter.parse(None, COMMIT[:7], None), PortFilter(namespace=COMMIT[:7]))

    def test_a_release_or_a_branch_needs_the_app(self) -> None:
        self.assertEqual(PortFilter.parse("webapp", "v3", "http"), PortFilter("webapp", release="v3", role="http"))
        self.assertEqual(PortFilter.parse("webapp", "master", None), PortFilter("webapp", name="master"))
        for commit in ("v3", "master", "abc"):
            with self.assertRaises(UsageError):
                PortFilter.parse(None, commit, None)
