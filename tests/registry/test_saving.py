"""From what was decided to what everybody may know, through a store that takes its time or fails."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy, DeploydError, Superseded
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.registry.book import Transaction
from deployd.registry.saving import GATHERING, PLENTY, Saving
from deployd.storage.registry_memory import MemoryRegistryStore
from tests.registry.held_store import HeldStore
from tests.registry.rows import row


class SavingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.begun = 0
        self.store = HeldStore(MemoryRegistryStore(), self.begin, lambda changes: None)
        self.happened: list[str] = []
        self.saving = Saving(self.clock, self.store, self.settle, self.undo, self.drop, max_queued=3)
        self.number = 0

    def begin(self) -> None:
        self.begun += 1

    def settle(self, changes: Sequence[RowChange]) -> None:
        self.happened.append("settled " + " ".join(str(change.number) for change in changes))

    def undo(self, owners: list[str]) -> list[str]:
        self.happened.append(f"undone for {' '.join(owners)}")
        return owners

    def drop(self, owners: list[str], error: DeploydError) -> None:
        self.happened.append(f"dropped {' '.join(owners)}: {error}")

    def take(self, owner: str, count: int = 1) -> Deferred[Transaction]:
        changes = []
        for _ in range(count):
            self.number += 1
            changes.append(RowChange(self.number, row(f"r{self.number}", revision=self.number)))
        done = Transaction(Revision("e", self.number), tuple(changes))
        taken = self.saving.take(done, owner)
        return taken.addCallbacks(self.told, self.told_why, (owner,), None, (owner,))

    def told(self, done: Transaction, owner: str) -> Transaction:
        self.happened.append(f"{owner} told {done.revision.number}")
        return done

    def told_why(self, failure: object, owner: str) -> object:
        self.happened.append(f"{owner} told why")
        return failure

    def test_saves_at_once_and_tells_nobody_before_it_is_on_the_disk(self) -> None:
        waiting = self.take("alice")
        self.assertEqual((self.begun, self.happened), (1, []))
        self.assertNoResult(waiting)
        self.store.let_through()
        self.assertEqual(self.happened, ["settled 1", "alice told 1"])
        self.successResultOf(waiting)

    def test_saves_together_what_comes_meanwhile(self) -> None:
        for owner in ("alice", "bob", "carol"):
            self.take(owner)
        self.assertEqual((self.begun, self.saving.queued), (1, 2))
        self.store.let_through()
        # The disk goes on before anybody hears of what it did.
        self.assertEqual((self.begun, self.happened), (2, ["settled 1", "alice told 1"]))
        self.store.let_through()
        self.assertEqual(self.happened[2:], ["settled 2 3", "bob told 2", "carol told 3"])
        self.assertEqual((self.begun, self.saving.queued, self.saving.figures.saves), (2, 0, 2))

    def test_what_changes_nothing_waits_for_what_it_was_judged_by_and_for_no_save_of_its_own(self) -> None:
        self.successResultOf(self.take("alice", 0))
        self.take("alice")
        waiting = self.take("alice", 0)
        self.assertNoResult(waiting)
        self.take("bob")
        again = self.take("alice", 0)
        self.store.let_through()
        self.successResultOf(waiting)
        self.assertNoResult(again)
        self.store.let_through()
        self.successResultOf(again)
        self.assertEqual(self.begun, 2)

    def test_after_a_save_of_many_calls_more_of_them_are_waited_for(self) -> None:
        for owner in ("alice", "bob", "carol", "dave", "erin"):
            self.take(owner)
        self.store.let_through()
        waiting = self.take("frank")
        self.store.let_through()
        # The save of four is through, and they have more to write.
        self.assertEqual((self.begun, self.saving.queued), (2, 1))
        self.take("bob")
        idle = self.saving.when_idle()
        self.clock.advance(GATHERING)
        self.assertEqual((self.begun, self.saving.queued), (3, 0))
        self.assertNoResult(idle)
        self.store.let_through()
        self.successResultOf(waiting)
        self.successResultOf(idle)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_waits_for_no_more_of_them(self) -> None:
        for owner in ("alice", "bob", "carol", "dave", "erin"):
            self.take(owner)
        self.store.let_through()
        self.take("frank")
        self.store.let_through()
        ended = self.saving.end()
        self.assertEqual((self.begun, self.clock.getDelayedCalls()), (3, []))
        self.assertNoResult(ended)
        self.failureResultOf(self.take("bob"), Busy)
        self.store.let_through()
        self.successResultOf(ended)

    def test_a_lot_waits_for_nothing_more(self) -> None:
        for owner in ("alice", "bob", "carol", "dave", "erin"):
            self.take(owner)
        self.store.let_through()
        self.take("frank", PLENTY)
        self.store.let_through()
        self.assertEqual((self.begun, self.saving.queued), (3, 0))
        self.store.let_through()

    def test_only_so_much_waits(self) -> None:
        self.take("alice", 5)
        self.take("bob", 2)
        self.saving.check()
        self.take("bob", 2)
        with self.assertRaises(Busy):
            self.saving.check()
        self.store.let_through()
        self.saving.check()
        self.store.let_through()

    def test_a_save_that_fails_takes_all_with_it_that_was_decided_after_it(self) -> None:
        waiting = [self.take("alice"), self.take("bob"), self.take("", 1)]
        self.store.refuse()
        for one in waiting:
            self.failureResultOf(one, Busy)
        told = ["undone for alice bob", "alice told why", "bob told why", " told why"]
        self.assertEqual(self.happened, [*told, "dropped alice bob: the disk is full"])
        self.assertEqual((self.saving.queued, self.saving.trouble), (0, "the disk is full"))
        self.flushLoggedErrors(Busy)

    def test_after_a_save_that_failed_the_next_one_is_as_good_as_any(self) -> None:
        self.failureResultOf(self.fail_once(), Busy)
        self.number = 0
        waiting = self.take("alice")
        self.store.let_through()
        self.successResultOf(waiting)
        self.assertEqual(self.saving.trouble, "")

    def test_a_failure_that_nobody_has_met_again_is_forgotten(self) -> None:
        self.failureResultOf(self.fail_once(), Busy)
        self.clock.advance(59)
        self.assertEqual(self.saving.trouble, "the disk is full")
        self.clock.advance(1)
        self.assertEqual(self.saving.trouble, "")

    def fail_once(self) -> Deferred[Transaction]:
        waiting = self.take("alice")
        self.store.refuse()
        return waiting

    def test_a_store_that_somebody_else_writes_to_is_the_end(self) -> None:
        inner = MemoryRegistryStore()
        saving = Saving(self.clock, inner, self.settle, self.undo, self.drop)
        self.number = 7
        taken = saving.take(Transaction(Revision("e", 9), (RowChange(9, row(revision=9)),)), "alice")
        self.failureResultOf(taken, Busy)
        self.assertIn("somebody else has written", self.happened[-1])
        with self.assertRaises(Busy):
            saving.check()
        self.failureResultOf(saving.take(Transaction(Revision("e", 9)), "alice"), Busy)
        self.flushLoggedErrors(Superseded)

    def test_idle_is_when_nothing_is_under_way(self) -> None:
        self.successResultOf(self.saving.when_idle())
        self.take("alice")
        self.take("bob")
        idle = self.saving.when_idle()
        self.store.let_through()
        self.assertNoResult(idle)
        self.store.let_through()
        self.successResultOf(idle)

    def test_a_disk_that_hangs_is_trouble(self) -> None:
        self.take("alice")
        self.clock.advance(4)
        self.assertEqual(self.saving.trouble, "")
        self.clock.advance(3)
        self.assertIn("has not answered for 7 seconds", self.saving.trouble)
        self.store.let_through()
        self.assertEqual(self.saving.trouble, "")

    def test_says_how_long_it_takes(self) -> None:
        self.take("alice")
        self.clock.advance(2)
        self.store.let_through()
        self.assertEqual((self.saving.figures.seconds, self.saving.figures.last_seconds), (2.0, 2.0))
