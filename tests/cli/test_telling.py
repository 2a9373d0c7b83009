"""Events are told each once, and followed over pages and changes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.rendering import plain
from deployd.cli.telling import BREATH, event_line, event_table, following, happened
from deployd.errors import UnknownApp
from tests.cli.clusters import Bench


def event(number: int, **more: Any) -> dict[str, Any]:
    row = {"number": number, "when": 1700000000.0, "what": "deploy", "who": "me@192.0.2.1", "app": "webapp"}
    return row | {"detail": f"v{number}"} | more


class ListingTests(SynchronousTestCase):
    def test_all_pages_are_one_list(self) -> None:
        bench = Bench(lists={"events": [event(number) for number in range(1, 6)]}, page=2)
        rows = self.successResultOf(bench.start(happened(bench.cluster, "webapp", 5)))
        self.assertEqual([row["number"] for row in rows], [1, 2, 3, 4, 5])
        self.assertEqual(bench.hub.asked_for("Events")[0], {"app": "webapp", "newest": 5, "above": 0})

    def test_what_the_hub_refuses_is_raised(self) -> None:
        bench = Bench(errors={"Events": UnknownApp("there is no app 'x'")})
        self.failureResultOf(bench.start(happened(bench.cluster, "x", 5)), UnknownApp)


class FollowingTests(SynchronousTestCase):
    def test_later_ones_are_told_once_and_changes_that_are_none_not_at_all(self) -> None:
        told: list[int] = []
        bench = Bench(1000.0, lists={"events": [event(1), event(2)]})
        working = bench.start(following(bench.cluster, "", 1, lambda row: told.append(row["number"])))
        self.assertEqual(told, [2])
        for more in ([event(3)], [], [event(4), event(5)]):
            bench.hub.lists["events"] += more
            bench.change()
            bench.clock.advance(BREATH)
            bench.way.flush()
        self.assertEqual(told, [2, 3, 4, 5])
        self.assertNoResult(working)

    def test_it_ends_at_the_deadline(self) -> None:
        bench = Bench(3.0)
        working = bench.start(following(bench.cluster, "", 100, lambda row: None))
        for _ in range(80):
            bench.clock.advance(0.05)
            bench.way.flush()
        self.assertIsNone(self.successResultOf(working))


class LineTests(SynchronousTestCase):
    def test_a_line_says_what_and_who(self) -> None:
        line = event_line(event(1, app="", detail="d1\n\x1b[2J", what="drain"))
        self.assertEqual(line[19:], "  drain  d1 �[2J  (me@192.0.2.1)")

    def test_a_table_has_a_line_for_each(self) -> None:
        header, line = plain(event_table([event(1)])).splitlines()
        self.assertEqual(header.split(), ["WHEN", "WHAT", "APP", "DETAIL", "WHO"])
        self.assertEqual(line[19:].split(), ["deploy", "webapp", "v1", "me@192.0.2.1"])
