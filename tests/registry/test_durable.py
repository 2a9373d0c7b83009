"""What a registry promises of its disk: what was acknowledged stays, and nobody sees what may not.

Tests that name an issue of etcd's replay it (the track record in etcd's tests/robustness).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy, DeploydError, Refused, Superseded
from deployd.model.revision import Revision
from deployd.net.secret import Secret, drone_credential
from deployd.registry.book import Transaction
from deployd.registry.filter import Near, RowFilter
from deployd.registry.limits import Limits
from deployd.registry.owner import Seat
from deployd.registry.position import Position
from deployd.registry.service import MAX_ENDING, Registry
from deployd.storage.registry_memory import MemoryRegistryStore, MemoryTable
from tests.registry.held_store import HeldStore
from tests.registry.rows import COMMIT, ordered, row

SECRET = Secret("beep boop")
TIMEOUT = 45.0
ALL = RowFilter()


class DurableCase(SynchronousTestCase):
    limits = Limits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = MemoryTable("epoch")
        self.hung_up: list[str] = []
        self.start()

    def start(self, max_changes: int = 1000) -> None:
        """The registry's process; that of an earlier one was killed. Its table is read while it starts."""
        inner = MemoryRegistryStore(self.table, max_changes)
        self.store = HeldStore(inner, lambda: None, lambda changes: None)
        self.store.is_quick = True
        self.registry = Registry(self.clock, self.store, SECRET, TIMEOUT, limits=self.limits)
        self.registry.startService()
        self.successResultOf(self.registry.open())

    def attach(self, owner: str = "alice", host: str = "10.0.0.1", name: str = "d1", accepted: bool = True) -> Seat:
        proof = drone_credential(SECRET, owner) if accepted else b""
        return self.registry.attach(owner, name, proof, "", host, lambda: self.hung_up.append(owner))

    def done(self, waiting: Deferred[Transaction]) -> Transaction:
        done: Transaction = self.successResultOf(waiting)
        return done

    def ids(self) -> list[str]:
        return [found.id for found in ordered(self.registry.rows(ALL))]

    def marked(self) -> list[str]:
        return [found.id for found in ordered(self.registry.rows(ALL)) if self.registry.document(found)["marked"]]

    def page(self, position: str = "", wait: float = 0.0) -> tuple[list[tuple[str, str]], str]:
        following = self.registry.follow(Position.parse(position), ALL, wait, object(), "")
        page = self.successResultOf(Deferred.fromCoroutine(following))
        return [(line["type"], line["row"]["id"] if line["row"] else "") for line in page.lines], str(page.position)


class PromiseTests(DurableCase):
    def test_what_was_acknowledged_survives_a_kill(self) -> None:
        """etcd #14370: a write was lost in a crash."""
        done = self.done(self.registry.publish(self.attach(), [row("a"), row("b")]))
        self.start()
        self.assertEqual((self.ids(), self.registry.revision), (["a", "b"], done.revision))

    def test_nobody_is_told_and_nobody_sees_what_is_not_on_the_disk(self) -> None:
        self.store.is_quick = False
        following = Deferred.fromCoroutine(self.registry.follow(Position.parse("0"), ALL, 9.0, object(), ""))
        waiting = Deferred.fromCoroutine(self.registry.wait(ALL, 9.0, ""))
        publishing = self.registry.publish(self.attach(), [row("a")])
        for one in (following, waiting, publishing):
            self.assertNoResult(one)
        self.assertEqual((self.ids(), self.registry.revision.number), ([], 0))
        self.store.let_through()
        for one in (following, waiting, publishing):
            self.successResultOf(one)
        self.assertEqual((self.ids(), self.registry.revision.number), (["a"], 1))

    def test_a_change_back_to_what_is_on_the_disk_is_one_while_another_is_on_its_way_there(self) -> None:
        seat = self.attach()
        self.done(self.registry.publish(seat, [row("a", 1)]))
        self.store.is_quick = False
        asked = [self.registry.update(seat, [row("a", port)], []) for port in (2, 3)]
        self.store.let_through()
        asked.append(self.registry.update(seat, [row("a", 2)], []))
        while self.store.is_saving:
            self.store.let_through()
        self.assertEqual([self.done(waiting).stands for waiting in asked], [2, 3, 4])
        self.assertEqual([found.port for found in self.registry.rows(ALL)], [2])

    def test_revisions_never_decrease_after_a_kill(self) -> None:
        """etcd #17780: they did."""
        seat = self.attach()
        self.done(self.registry.publish(seat, [row("a")]))
        self.store.is_quick = False
        self.assertNoResult(self.registry.update(seat, [row("b")], []))
        self.start()
        self.assertEqual((self.ids(), self.registry.revision), (["a"], Revision("epoch", 1)))
        self.assertEqual(self.done(self.registry.publish(self.attach(), [])).revision, Revision("epoch", 2))

    def test_a_watch_never_goes_back_in_time_and_tells_nothing_twice(self) -> None:
        """etcd #15271 and #17247: it did, after a partition, and events were duplicated."""
        seat = self.attach()
        self.done(self.registry.publish(seat, [row("a")]))
        _, position = self.page()
        self.done(self.registry.update(seat, [row("b")], []))
        self.start()
        lines, position = self.page(position)
        self.assertEqual(lines, [("put", "b")])
        self.assertEqual(self.page(position)[0], [])

    def test_a_watch_that_was_starved_gets_every_change(self) -> None:
        """etcd #17529: events were lost."""
        seat = self.attach()
        self.done(self.registry.publish(seat, []))
        _, position = self.page()
        for number in range(900):
            self.done(self.registry.update(seat, [row(f"r{number % 7}", port=number + 1)], []))
        told = []
        while True:
            lines, position = self.page(position)
            if not lines:
                break
            told += lines
        self.assertEqual(told, [("put", f"r{number % 7}") for number in range(900)])

    def test_no_deletion_is_missed_where_the_history_was_cut_off(self) -> None:
        """etcd #19179: it was, at a compaction."""
        self.start(max_changes=5)
        seat = self.attach()
        self.done(self.registry.publish(seat, [row("a"), row("b")]))
        _, position = self.page()
        self.done(self.registry.update(seat, [], ["a"]))
        for number in range(9):
            self.done(self.registry.update(seat, [row("b", port=number + 1)], []))
        self.start(max_changes=5)
        self.assertEqual(self.page(position)[0], [("reset", ""), ("put", "b")])

    def test_a_registry_that_was_stopped_and_goes_on_serves_nothing_that_is_over(self) -> None:
        """etcd #20418: stale reads after the process was paused."""
        seat = self.attach()
        self.done(self.registry.publish(seat, [row("a")]))
        self.done(self.registry.publish(self.attach("bob"), [row("b")]))
        self.registry.lost(seat)
        # Nothing runs, not even timers.
        self.clock.rightNow += TIMEOUT + 1
        self.assertEqual(self.ids(), ["b"])
        self.assertEqual([found.id for found in self.registry.candidates(ALL)], ["b"])
        self.assertEqual([found.id for _, found in self.registry.places(ALL, Near()) if found], ["b"])
        waiting = Deferred.fromCoroutine(self.registry.wait(RowFilter(role="http", namespace=COMMIT), 1.0, ""))
        self.assertTrue(self.successResultOf(waiting))
        # Nor while it is on its way to the disk.
        self.store.is_quick = False
        self.clock.advance(0)
        self.assertEqual((self.ids(), self.registry.revision.number), (["b"], 2))
        self.store.let_through()
        self.assertEqual(self.page("2")[0], [("delete", "a")])

    def test_a_store_that_was_put_back_is_another_epoch(self) -> None:
        self.done(self.registry.publish(self.attach(), [row("a")]))
        _, position = self.page()
        self.table.epoch, self.table.changes = "another", []
        self.start()
        self.assertEqual(self.page(position)[0], [("reset", ""), ("put", "a")])

    def test_an_orderly_end_saves_what_was_decided(self) -> None:
        seat = self.attach()
        self.store.is_quick = False
        one, two = self.registry.publish(seat, [row("a")]), self.registry.update(seat, [row("b")], [])
        ending = self.registry.stopService()
        self.store.let_through()
        self.assertNoResult(ending)
        self.store.let_through()
        for waiting in (one, two, ending):
            self.successResultOf(waiting)
        self.assertEqual((sorted(self.table.rows), self.clock.getDelayedCalls()), (["a", "b"], []))
        with self.assertRaises(Busy):
            self.registry.update(seat, [row("c")], [])

    def test_an_orderly_end_does_not_wait_for_ever_for_a_disk_that_hangs(self) -> None:
        seat = self.attach()
        self.store.is_quick = False
        waiting = self.registry.publish(seat, [row("a")])
        ending = self.registry.stopService()
        self.clock.advance(MAX_ENDING)
        self.successResultOf(ending)
        self.assertNoResult(waiting)
        # It answers after all.
        self.store.let_through()
        self.successResultOf(waiting)


class RestartTests(DurableCase):
    def test_rows_are_served_at_once_and_are_marked_until_their_owners_are_back(self) -> None:
        for owner in ("alice", "bob"):
            self.done(self.registry.publish(self.attach(owner), [row(f"{owner}-1")]))
        self.start()
        self.assertEqual(self.marked(), ["alice-1", "bob-1"])
        before = self.registry.revision
        self.done(self.registry.publish(self.attach(), [row("alice-1")]))
        self.assertEqual((self.marked(), self.registry.revision), (["bob-1"], before))
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.ids(), ["alice-1"])

    def test_rows_of_those_who_never_come_back_fall(self) -> None:
        self.done(self.registry.publish(self.attach(), [row("a")]))
        _, position = self.page()
        self.start()
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.page(position)[0], [("delete", "a")])
        self.assertEqual(self.table.rows, {})

    def test_nobody_takes_the_rows_of_those_who_are_not_back_yet(self) -> None:
        self.done(self.registry.publish(self.attach(), [row("a")]))
        self.start()
        with self.assertRaises(DeploydError):
            self.registry.publish(self.attach("mallory"), [row("a")])

    def test_very_many_rows_fall_some_at_a_time(self) -> None:
        self.limits = Limits(falling=3)
        self.start()
        for owner in ("alice", "bob", "carol"):
            self.done(self.registry.publish(self.attach(owner), [row(f"{owner}-{number}") for number in range(2)]))
        self.start()
        self.clock.advance(TIMEOUT)
        figures = self.registry.figures()
        self.assertEqual((self.ids(), figures["expired"], figures["transactions"]), ([], 6, 3))


class FullDiskTests(DurableCase):
    def setUp(self) -> None:
        super().setUp()
        self.seat = self.attach()
        self.done(self.registry.publish(self.seat, [row("a")]))
        self.store.is_quick = False

    def tearDown(self) -> None:
        self.flushLoggedErrors(Busy)

    def test_what_was_not_saved_never_was_and_its_owners_start_anew(self) -> None:
        other = self.attach("bob")
        one = self.registry.update(self.seat, [row("a", port=2), row("b")], [])
        two = self.registry.publish(other, [row("c")])
        self.store.refuse()
        for waiting in (one, two):
            self.failureResultOf(waiting, Busy)
        self.assertEqual((self.hung_up, self.ids(), self.marked()), (["alice", "bob"], ["a"], ["a"]))
        self.assertEqual(self.registry.trouble, "the disk is full")
        with self.assertRaises(Refused):
            self.registry.update(self.seat, [], ["a"])
        self.store.is_quick = True
        for seat in (self.seat, other):
            self.registry.lost(seat)
        done = self.done(self.registry.publish(self.attach(), [row("a", port=2), row("b")]))
        self.assertEqual((done.revision.number, self.ids(), self.marked()), (3, ["a", "b"], []))
        self.assertEqual(self.registry.trouble, "")

    def test_readers_never_notice(self) -> None:
        following = Deferred.fromCoroutine(self.registry.follow(Position.parse("1"), ALL, 9.0, object(), ""))
        self.registry.update(self.seat, [row("b")], ["a"]).addErrback(lambda _: None)
        self.store.refuse()
        self.assertNoResult(following)
        self.assertEqual((self.ids(), self.registry.revision.number), (["a"], 1))

    def test_rows_that_fall_are_gone_for_readers_and_freed_once_the_disk_takes_it(self) -> None:
        self.registry.lost(self.seat)
        self.clock.advance(TIMEOUT)
        tried = []
        for _ in range(7):
            self.store.refuse()
            self.assertEqual(self.ids(), [])
            tried.append(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds())
            self.clock.advance(tried[-1])
        self.assertEqual(tried, [1, 2, 4, 8, 16, 30, 30])
        self.store.let_through()
        self.assertEqual(self.page("1")[0], [("delete", "a")])

    def test_they_do_not_wait_for_those_that_fall_next(self) -> None:
        self.store.is_quick = True
        other = self.attach("bob")
        self.done(self.registry.publish(other, [row("b")]))
        self.store.is_quick = False
        self.registry.lost(self.seat)
        self.clock.advance(20)
        self.registry.lost(other)
        self.clock.advance(TIMEOUT - 20)
        self.store.refuse()
        self.clock.advance(1)
        self.store.let_through()
        self.assertEqual((self.ids(), self.page("2")[0]), (["b"], [("delete", "a")]))

    def test_an_owner_that_comes_back_keeps_its_rows_if_they_could_not_be_freed(self) -> None:
        self.registry.lost(self.seat)
        self.clock.advance(TIMEOUT)
        self.store.refuse()
        self.store.is_quick = True
        self.done(self.registry.publish(self.attach(), [row("a")]))
        self.assertEqual((self.ids(), self.registry.revision.number), (["a"], 1))
        self.clock.advance(1000)
        self.assertEqual(self.ids(), ["a"])

    def test_a_goodbye_that_could_not_be_saved_is_a_lost_link(self) -> None:
        self.failureResultOf(self.refused(self.registry.leave(self.seat)), Busy)
        self.assertEqual((self.ids(), self.marked()), (["a"], ["a"]))
        self.store.is_quick = True
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.ids(), [])

    def refused(self, waiting: Deferred[Any]) -> Deferred[Any]:
        self.store.refuse()
        return waiting

    def test_a_rival_at_the_store_is_the_end(self) -> None:
        ends: list[str] = []
        store = MemoryRegistryStore(self.table)
        registry = Registry(self.clock, store, SECRET, fail=lambda error: ends.append(str(error)))
        registry.open()
        seat = registry.attach("alice", "d1", drone_credential(SECRET, "alice"), "", "10.0.0.1", lambda: None)
        self.table.number += 5
        self.failureResultOf(registry.publish(seat, [row("b")]), Busy)
        self.assertEqual(ends, ["somebody else has written to the registry's table"])
        with self.assertRaises(Busy):
            registry.publish(seat, [row("b")])
        self.flushLoggedErrors(Superseded)


class ConfirmTests(DurableCase):
    def setUp(self) -> None:
        super().setUp()
        seat = self.attach()
        self.done(self.registry.publish(seat, [row("a"), row("b")]))
        done = self.done(self.registry.update(seat, [], ["b"]))
        self.known = Revision("epoch", done.stands)
        self.start()

    def stands(self, seat: Seat) -> Revision:
        found: Revision = self.successResultOf(self.registry.stands(seat))
        return found

    def test_an_owner_that_knows_its_rows_need_not_send_them(self) -> None:
        seat = self.attach()
        self.assertEqual(self.stands(seat), self.known)
        self.assertEqual(self.marked(), ["a"])
        done = self.done(self.registry.confirm(seat, self.known))
        self.assertEqual((done.changes, done.stands, self.marked()), ((), self.known.number, []))
        self.done(self.registry.update(seat, [row("c")], []))
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.ids(), ["a", "c"])

    def test_what_is_not_where_they_stand_is_refused(self) -> None:
        seat = self.attach()
        for stands in (
            Revision("epoch", 1),
            Revision("epoch", 9),
            Revision("x", self.known.number),
            Revision("epoch", 0),
        ):
            with self.assertRaises(Refused):
                self.registry.confirm(seat, stands)
        self.assertEqual(self.marked(), ["a"])

    def test_what_would_say_something_else_is_refused(self) -> None:
        for other in ({"host": "10.0.0.2"}, {"name": "d2"}, {"accepted": False}):
            seat = self.attach(**other)
            self.assertEqual(self.stands(seat), self.known)
            with self.assertRaises(Refused):
                self.registry.confirm(seat, self.known)
        self.done(self.registry.publish(self.attach(host="10.0.0.2"), [row("a")]))

    def test_one_row_of_a_commit_among_others_needs_the_hub(self) -> None:
        self.done(self.registry.publish(self.attach("bob"), [row("x", namespace="dev"), row("y")]))
        self.start()
        seat = self.attach("bob", accepted=False)
        with self.assertRaises(Refused):
            self.registry.confirm(seat, self.stands(seat))

    def test_rows_of_no_commit_need_no_hub(self) -> None:
        self.done(self.registry.publish(self.attach("bob", accepted=False), [row("x", namespace="dev")]))
        self.start()
        seat = self.attach("bob", accepted=False)
        self.done(self.registry.confirm(seat, self.stands(seat)))

    def test_an_owner_without_rows_has_nothing_to_confirm(self) -> None:
        seat = self.attach("bob")
        self.assertEqual(self.stands(seat).number, 0)
        with self.assertRaises(Refused):
            self.registry.confirm(seat, Revision("epoch", 0))

    def test_where_rows_stand_is_told_once_it_is_on_the_disk(self) -> None:
        seat = self.attach()
        self.done(self.registry.confirm(seat, self.known))
        self.store.is_quick = False
        self.registry.update(seat, [row("c")], [])
        asking = self.registry.stands(self.attach())
        self.assertNoResult(asking)
        self.store.let_through()
        self.assertEqual(self.successResultOf(asking).number, self.known.number + 1)

    def test_what_was_freed_before_the_history_began_may_have_been_anybodys(self) -> None:
        """Its owner may not have heard of it, and would hold true what is not."""
        self.done(self.registry.publish(self.attach("bob"), [row(f"b{number}") for number in range(5)]))
        self.start(max_changes=3)
        self.assertEqual(self.stands(self.attach()), self.known)
        # What is kept is cut when something is saved.
        self.done(self.registry.publish(self.attach("bob"), []))
        self.start()
        seat = self.attach()
        self.assertGreater(self.stands(seat).number, self.known.number)
        with self.assertRaises(Refused):
            self.registry.confirm(seat, self.known)
