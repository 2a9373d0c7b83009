"""Routes and their history as tables."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.rendering import plain
from deployd.cli.route_rows import history_table, percents, route_table
from tests.cli.scripted_hub import COMMIT


def route(**more: Any) -> dict[str, Any]:
    first = {"release": "v1", "commit": COMMIT, "weight": 9, "ready": 2, "requests": 900, "errors": 0}
    second = {"release": "v2", "commit": "40548da" + "0" * 33, "weight": 1, "ready": 1, "requests": 100, "errors": 7}
    shares = [first | {"p50": 0.0025, "p99": 0.1}, second | {"p50": None, "p99": None}]
    row = {"host": "shop.example", "path": "/", "app": "webapp", "role": "http", "shares": shares, "number": 4}
    return row | {"preview": True, "sticky": False, "https": True, "promotion": None} | more


class RouteTableTests(SynchronousTestCase):
    def test_every_release_has_a_line_to_compare(self) -> None:
        shown = route_table([route()])
        start = ("shop.example", "/", "webapp:http")
        self.assertEqual(
            shown.rows,
            (
                (*start, "v1 90%", "74336bc", "2", "900", "0", "2.5 ms", "100 ms", "preview https"),
                (*start, "v2 10%", "40548da", "1", "100", "7", "", "", "preview https"),
            ),
        )

    def test_a_promotion_is_told_beside_its_release(self) -> None:
        promotion = {"release": "v2", "steps": [10, 50, 100], "step": 1, "every": 60.0, "paused": False}
        first, second = route_table([route(promotion=promotion)]).rows
        self.assertEqual(first[-1], "preview https")
        self.assertEqual(second[-1], "preview https promote 10,50,100: step 1, every 60 s")
        paused = route_table([route(promotion=promotion | {"paused": True})]).rows[1]
        self.assertIn("paused", paused[-1])

    def test_what_a_hub_does_not_send_is_blank(self) -> None:
        self.assertIn("v1 0%", plain(route_table([{"host": "a", "shares": [{"release": "v1"}]}])))


class HistoryTableTests(SynchronousTestCase):
    def test_every_setting_is_a_line(self) -> None:
        rows = [
            route(number=4, when=1.0e9, who="a", what="set", back_to=0),
            route(number=5, when=None, who="b", what="rollback", back_to=4),
        ]
        shown = history_table(rows)
        self.assertEqual([row[2] for row in shown.rows], ["4", "5"])
        self.assertTrue(shown.rows[0][3].startswith("2001-09-"))
        self.assertEqual(shown.rows[1][3:], ("", "b", "rollback to 4", "webapp:http", "v1 90% v2 10%", "preview https"))


class PercentTests(SynchronousTestCase):
    def test_weights_are_shown_as_percents(self) -> None:
        self.assertEqual(percents([("v1", 1), ("v2", 2)]), "v1 33.3% v2 66.7%")
        self.assertEqual(percents([("v1", 1_000_000), ("v2", 1)]), "v1 100% v2 <0.1%")
        self.assertEqual(percents([("v1", 1), ("v2", 0)]), "v1 100% v2 0%")
        self.assertEqual(percents([]), "")
