"""``deployctl watch``: the registry's lines, over whatever happens to the connection."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.query_words import Pattern
from deployd.cli.watch_rows import RowStream
from deployd.cli.watch_words import Line, LineOutput, plain_line, position
from deployd.client.reader import Lines
from deployd.errors import Unreachable, UsageError
from tests.cli.registries import RegistryBench, row

ROW = {
    "id": "w1",
    "namespace": "74336bc1db98478e02e69f59e7100895be207389",
    "app": "webapp",
    "release": "v1",
    "role": "http",
    "version": "1.2.3",
    "host": "10.0.0.1",
    "port": 8080,
    "drone": "d1",
    "meta": {"zone": "eu"},
    "owner": "me",
    "revision": 7,
}
PUT = {"type": "put", "revision": 7, "row": ROW}


class LineTests(SynchronousTestCase):
    def test_a_line_reads_as_what_was_done_to_which_service(self) -> None:
        self.assertEqual(plain_line(PUT, False), "put http@1.2.3 10.0.0.1:8080 74336bc webapp v1")
        bare = {**ROW, "namespace": "default", "app": "", "release": "", "version": ""}
        self.assertEqual(
            plain_line({"type": "delete", "revision": 9, "row": bare}, False), "delete http 10.0.0.1:8080 default"
        )
        self.assertEqual(plain_line({"type": "reset", "revision": 0, "row": None, "epoch": "e1"}, True), "reset e1")

    def test_verbosely_with_the_rest_of_the_row(self) -> None:
        self.assertEqual(
            plain_line(PUT, True),
            'put http@1.2.3 10.0.0.1:8080 74336bc webapp v1 revision=7 id=w1 drone=d1 owner=me meta={"zone": "eu"}',
        )

    def test_json_is_the_registrys_own_line(self) -> None:
        with redirect_stdout(StringIO()) as out:
            LineOutput(True, False).write([PUT, PUT])
        self.assertEqual([json.loads(line) for line in out.getvalue().splitlines()], [PUT, PUT])

    def test_a_place_to_begin_is_a_revision(self) -> None:
        for text in ("12", "abc.12", "abc.12-s40", "now"):
            self.assertEqual(position(text), text)
        self.assertEqual(position(None), "")
        for text in ("yesterday", "-1", "a.b", "a.1.2"):
            self.assertRaises(UsageError, position, text)


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = RegistryBench()
        self.addCleanup(self.bench.close)
        self.owner = self.bench.owner()
        self.lines: list[Line] = []
        self.notes: list[str] = []
        self.held: Deferred[None] | None = None

    async def show(self, lines: list[Line]) -> None:
        self.lines += lines
        if self.held is not None:
            await self.held

    def watch(self, match: str | None = None, since: str = "", seconds: float | None = None) -> Deferred[Any]:
        cluster = self.bench.cluster if seconds is None else self.bench.cluster_with(seconds)
        stream = RowStream(cluster, Pattern.parse(match).rows, since, self.show, self.notes.append)
        return self.bench.start(stream.run())

    def told(self) -> list[tuple[str, str]]:
        """What was told since the last look: type and id of each line."""
        lines, self.lines = self.lines, []
        return [(line["type"], line["row"]["id"] if line["row"] else "") for line in lines]

    def test_all_rows_come_first_then_what_changes(self) -> None:
        self.bench.put(self.owner, row("a"))
        self.watch()
        self.assertEqual(self.told(), [("reset", ""), ("put", "a")])
        self.bench.put(self.owner, row("b"))
        self.bench.free(self.owner, "a")
        self.assertEqual(self.told(), [("put", "b"), ("delete", "a")])

    def test_of_what_was_asked_for_only(self) -> None:
        self.watch("http@^1")
        self.told()
        self.bench.put(self.owner, row("a"), row("b", version="2.0.0"), row("c", role="say"))
        self.assertEqual(self.told(), [("put", "a")])

    def test_from_now_on_or_from_a_revision(self) -> None:
        self.bench.put(self.owner, row("a"), row("b"))
        self.watch(since="now")
        self.assertEqual(self.told(), [])
        self.bench.put(self.owner, row("c"))
        self.assertEqual(self.told(), [("put", "c")])
        revision = self.bench.network.registry.revision
        self.watch(since=f"{revision.epoch}.{revision.number - 2}")
        self.assertEqual(self.told(), [("put", "b"), ("put", "c")])

    def test_a_lost_connection_costs_no_line_and_repeats_none(self) -> None:
        self.watch()
        self.bench.put(self.owner, row("a"))
        self.told()
        other = self.bench.owner("other")
        for number in range(5):
            self.bench.network.cut()
            self.bench.network.advance(3)
            self.bench.put(other, row(f"b{number}"))
        self.bench.network.advance(3)
        self.assertEqual([name for kind, name in self.told() if kind == "put"], [f"b{number}" for number in range(5)])

    def test_a_registry_of_another_epoch_begins_anew(self) -> None:
        self.watch()
        self.bench.put(self.owner, row("a"))
        self.told()
        self.bench.network.restart()
        self.bench.network.advance(10)
        self.assertEqual(self.told()[0], ("reset", ""))

    def test_while_the_registry_is_away_one_sentence_says_so(self) -> None:
        self.watch()
        self.bench.network.up = False
        self.bench.network.cut()
        self.bench.network.advance(60)
        self.assertEqual(len(self.notes), 1)
        self.assertIn("going on when the registry is back", self.notes[0])
        self.bench.network.up = True
        self.bench.network.advance(3)
        self.told()
        self.bench.put(self.bench.owner("other"), row("b"))
        self.assertIn(("put", "b"), self.told())

    def test_nothing_is_asked_for_while_the_last_lines_are_not_out(self) -> None:
        self.held = Deferred()
        self.watch()
        self.told()
        self.bench.put(self.owner, row("a"), row("b"))
        self.assertEqual(self.told(), [])
        held, self.held = self.held, None
        held.callback(None)
        self.bench.network.flush()
        self.assertEqual(self.told(), [("put", "a"), ("put", "b")])

    def test_it_ends_at_its_deadline(self) -> None:
        watching = self.watch(seconds=60)
        self.bench.network.advance(59)
        self.assertNoResult(watching)
        self.bench.network.advance(2)
        self.assertIsNone(self.successResultOf(watching))

    def test_a_registry_that_is_down_is_not_waited_for(self) -> None:
        self.bench.network.up = False
        self.failureResultOf(self.watch(), Unreachable)

    def test_a_range_that_is_none_ends_it(self) -> None:
        self.failureResultOf(self.watch("http@^^1"), UsageError)

    def test_the_last_line_of_all_rows_belongs_with_no_other(self) -> None:
        self.bench.put(self.owner, row("a"), row("b"))
        self.watch()
        self.assertEqual([bool(line.get("more")) for line in self.lines], [True, True, False])

    def test_a_line_is_held_while_another_one_may_belong_with_it(self) -> None:
        stream = RowStream(self.bench.cluster, Pattern.parse().rows, "", self.show, self.notes.append)
        revision = self.bench.network.registry.revision
        more = PUT | {"more": True}
        self.assertEqual(stream._known(Lines([more, more], "e.8", False, revision)), [more])
        self.assertEqual(stream._known(Lines([], "e.9", False, revision)), [])
        self.assertEqual(stream._known(Lines([], "e.10", True, revision)), [PUT])
