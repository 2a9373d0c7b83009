"""When a router that starts begins to serve (Note [What was saved may be old])."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import TableItem
from deployd.router.saved import Contents
from deployd.router.service import PATIENCE, Router
from deployd.router.table import Table

ITEMS = (TableItem(route=RouteLine(RouteKey("shop.example"), Setting("webapp", "http", (Share("v1", 1),)))),)
NOW = Revision("e", 1)
NOTHING = Revision("", 0)


def saved(method: str, *arguments: Any) -> Deferred[Any]:
    return succeed(None)


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.router = Router(self.clock, Table(self.clock), saved, lambda: None)

    def recall(self, revision: Revision = NOW, items: tuple[TableItem, ...] = ITEMS) -> None:
        self.router.recall(Contents(revision, items, NOTHING, (), {}))

    def follow(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.router.follow(NOW, 0, ITEMS)))

    def test_serves_once_hub_and_registry_are_heard(self) -> None:
        self.recall()
        self.assertNoResult(self.router.ready)
        self.follow()
        self.assertNoResult(self.router.ready)
        self.router.reset_rows((), NOW, False)
        self.successResultOf(self.router.ready)

    def test_serves_by_what_it_saved_where_both_are_away(self) -> None:
        self.recall()
        self.router.hub_away()
        self.router.registry_lost()
        self.successResultOf(self.router.ready)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_serves_by_what_it_saved_where_neither_says_anything_for_long(self) -> None:
        self.recall()
        self.clock.advance(PATIENCE - 0.1)
        self.assertNoResult(self.router.ready)
        self.clock.advance(0.1)
        self.successResultOf(self.router.ready)

    def test_never_serves_without_a_table(self) -> None:
        self.recall(NOTHING, ())
        self.router.registry_lost()
        self.router.hub_away()
        self.clock.advance(PATIENCE)
        self.assertNoResult(self.router.ready)
        self.follow()
        self.successResultOf(self.router.ready)

    def test_that_the_hub_goes_again_changes_nothing(self) -> None:
        self.recall()
        self.follow()
        self.router.hub_away()
        self.router.reset_rows((), NOW, False)
        self.router.registry_lost()
        self.successResultOf(self.router.ready)
