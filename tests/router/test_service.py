"""What hub and registry say, on its way to the table, the disk and the hub's ear."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, TableItem
from deployd.router.saved import Contents
from deployd.router.saving import GATHER
from deployd.router.service import PATIENCE, Router
from deployd.router.table import Table

ROUTE = TableItem(route=RouteLine(RouteKey("shop.example"), Setting("webapp", "http", (Share("v1", 1),))))
DRONE = TableItem(drone=DroneHost("o", "10.0.0.1"))
ROW = Registration("http-1", "a" * 40, "http", "10.0.0.1", 20000, "webapp", "v1", owner="o")


def at(number: int, epoch: str = "e") -> Revision:
    return Revision(epoch, number)


class RouterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.table = Table(self.clock)
        self.saves: list[tuple[Any, ...]] = []
        self.answers: list[Deferred[None]] = []
        self.changes = 0
        self.router = Router(self.clock, self.table, self.save, self.changed)

    def save(self, *call: Any) -> Deferred[None]:
        self.saves.append(call)
        answer: Deferred[None] = Deferred()
        self.answers.append(answer)
        return answer

    def changed(self) -> None:
        self.changes += 1

    def recall(self, number: int = 0, *items: TableItem) -> None:
        rows = (ROW,) if number else ()
        self.router.recall(Contents(at(number) if number else at(0, ""), items, at(number, "r"), rows, {}))

    def follow(self, number: int, base: int = 0) -> Deferred[None]:
        return Deferred.fromCoroutine(self.router.follow(at(number), base, (ROUTE, DRONE)))

    @property
    def ready(self) -> bool:
        return self.router.ready.called

    def test_a_table_is_followed_once_it_is_saved_too(self) -> None:
        following = self.follow(5)
        self.assertEqual(self.table.table, at(5))
        self.assertEqual(self.saves, [("follow", at(5), 0, (ROUTE, DRONE))])
        self.assertNoResult(following)
        self.answers[0].callback(None)
        self.successResultOf(following)
        self.assertEqual(self.changes, 1)

    def test_one_that_could_not_be_saved_is_in_force_and_not_acknowledged(self) -> None:
        following = self.follow(5)
        self.answers[0].errback(Refused("the disk is full"))
        self.failureResultOf(following, Refused)
        self.assertEqual(self.router.standing().table, at(5))

    def test_rows_are_taken_and_what_has_changed_is_saved(self) -> None:
        self.router.reset_rows((ROW,), at(1, "r"), False)
        self.router.reset_rows((ROW,), at(2, "r"), True)
        self.clock.advance(GATHER)
        self.assertEqual(self.saves, [("change_rows", (ROW,), (), at(2, "r"))])
        self.answers[0].callback(None)
        self.router.change_rows((), ("http-1",), at(3, "r"))
        self.clock.advance(GATHER)
        self.assertEqual(self.saves[1:], [("change_rows", (), ("http-1",), at(3, "r"))])
        self.assertEqual(self.router.standing().registry, at(3, "r"))

    def test_rows_that_fell_are_gone_on_disk_too(self) -> None:
        self.recall(4, ROUTE, DRONE)
        self.router.reset_rows((), at(1, "new"), False)
        self.assertIn("http-1", self.table.rows.targets)
        self.clock.advance(GATHER)
        self.answers[0].callback(None)
        self.clock.advance(self.table.grace)
        self.clock.advance(GATHER)
        self.assertEqual(self.saves[-1], ("change_rows", (), ("http-1",), at(1, "new")))

    def test_somebody_waits_while_something_leaves(self) -> None:
        self.assertFalse(self.router.urgent())
        self.table.follow(at(5), [TableItem(leaving="http-1")], True)
        self.assertTrue(self.router.urgent())

    def test_a_new_router_serves_once_it_has_a_table(self) -> None:
        self.recall()
        self.clock.advance(10 * PATIENCE)
        self.assertFalse(self.ready)
        self.follow(5)
        self.assertTrue(self.ready)

    def test_one_with_a_saved_table_waits_for_news_but_not_for_long(self) -> None:
        self.recall(4, ROUTE, DRONE)
        self.assertFalse(self.ready)
        self.clock.advance(PATIENCE)
        self.assertTrue(self.ready)

    def test_nothing_is_waited_for_at_the_end(self) -> None:
        self.recall(4, ROUTE, DRONE)
        closed = Deferred.fromCoroutine(self.router.close())
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
