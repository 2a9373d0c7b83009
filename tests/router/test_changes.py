"""Requests that wait for the routing table to change."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy
from tests.router.tables import Told, retiring, route, row


class WaitingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = Told(route(v1=1), max_waiters=2)

    def test_who_waits_hears_of_rows_and_of_routes(self) -> None:
        for change in (lambda: self.table.put(row("http-1")), lambda: self.table.delta(route(v2=1))):
            waiting = self.table.when_changed()
            self.assertNoResult(waiting)
            change()
            self.successResultOf(waiting)

    def test_an_answer_of_the_registry_without_news_wakes_nobody(self) -> None:
        waiting = self.table.when_changed()
        self.table.put()
        self.assertNoResult(waiting)

    def test_only_so_many_may_wait(self) -> None:
        waiting = [self.table.when_changed(), self.table.when_changed()]
        self.assertRaises(Busy, self.table.when_changed)
        waiting[0].cancel()
        self.failureResultOf(waiting[0])
        self.table.when_changed()
        self.assertRaises(Busy, self.table.when_changed)

    def test_who_waits_again_at_once_waits_for_the_next_change(self) -> None:
        again: list[Deferred[None]] = []
        self.table.when_changed().addCallback(lambda _: again.append(self.table.when_changed()))
        self.table.put(row("http-1"))
        self.assertNoResult(again[0])

    def test_who_is_cancelled_by_another_that_woke_is_not_called_twice(self) -> None:
        second: list[Deferred[None]] = []
        self.table.when_changed().addCallback(lambda _: second[0].cancel())
        second.append(self.table.when_changed())
        self.table.put(row("http-1"))
        self.failureResultOf(second[0])

    def test_a_decision_in_a_wake_sees_the_whole_update(self) -> None:
        seen: list[object] = []
        self.table.when_changed().addCallback(lambda _: seen.append(self.table.get()))
        self.table.delta(route(v2=1), *retiring("v1"))
        self.table.when_changed().addCallback(lambda _: seen.append(self.table.get()))
        self.table.put(row("http-2", "v2"), row("http-1", "v1"))
        self.assertEqual(seen, [None, self.table.rows.targets["http-2"]])
