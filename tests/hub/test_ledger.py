"""Changes: decided one after the other, saved first, then true."""

from __future__ import annotations

from copy import copy

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.hub.ledger import NOTHING, Ledger
from deployd.interfaces import Saved
from deployd.model.desired import Changes, Desired, Event
from deployd.model.revision import Revision
from deployd.storage.memory import MemoryStore


class SlowStore(MemoryStore):
    """Saves when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Changes, str, Deferred[int]]] = []
        self.closed = False

    def save(self, changes: Changes, epoch: str = "") -> Deferred[int]:
        self.waiting.append((changes, epoch, Deferred()))
        return self.waiting[-1][2]

    def end(self) -> None:
        changes, epoch, done = self.waiting.pop(0)
        super().save(changes, epoch).chainDeferred(done)

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = SlowStore()
        self.ledger = Ledger(self.store, lambda: 5.0)
        self.successResultOf(Deferred.fromCoroutine(self.ledger.open()))

    def add_app(self) -> Deferred[None]:
        """An app with the next number."""
        return Deferred.fromCoroutine(self.ledger.change(lambda desired: Changes(apps=(f"app{len(desired.apps)}",))))

    def test_nothing_is_true_before_it_is_saved(self) -> None:
        heard: list[str] = []
        self.ledger.changed.append(lambda: heard.append("changed"))
        change = self.add_app()
        self.assertNoResult(change)
        self.assertEqual((self.ledger.desired, heard), (Desired(), []))
        self.store.end()
        self.successResultOf(change)
        self.assertEqual((self.ledger.desired.apps, heard), ({"app0"}, ["changed"]))

    def test_changes_at_once_see_each_other(self) -> None:
        changes = [self.add_app() for _ in range(3)]
        self.assertEqual(len(self.store.waiting), 1)
        for _ in changes:
            self.store.end()
        self.assertEqual(self.ledger.desired.apps, {"app0", "app1", "app2"})

    def test_a_failed_save_changes_nothing_and_the_next_works(self) -> None:
        first, second = self.add_app(), self.add_app()
        self.store.waiting.pop(0)[2].errback(Refused("the disk is full"))
        self.failureResultOf(first, Refused)
        self.store.end()
        self.successResultOf(second)
        self.assertEqual(self.ledger.desired.apps, {"app0"})

    def test_nothing_to_change_is_not_saved(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.ledger.change(lambda desired: NOTHING)))
        self.assertEqual(self.store.waiting, [])

    def test_closing_waits_for_what_is_being_saved_and_refuses_the_rest(self) -> None:
        first = self.add_app()
        closing = Deferred.fromCoroutine(self.ledger.close())
        late = self.add_app()
        self.assertNoResult(closing)
        self.store.end()
        self.successResultOf(first)
        self.successResultOf(closing)
        self.failureResultOf(late, Refused)
        self.assertTrue(self.store.closed)

    def again(self, store: MemoryStore) -> Ledger:
        ledger = Ledger(store, lambda: 5.0)
        self.successResultOf(Deferred.fromCoroutine(ledger.open()))
        return ledger

    def test_numbers_grow_over_saves_and_restarts(self) -> None:
        numbers = [self.ledger.number() for _ in range(3)]
        self.add_app()
        self.store.end()
        numbers.append(self.ledger.number())
        # Saved, but killed before it heard so.
        self.add_app()
        self.successResultOf(MemoryStore.save(self.store, Changes(apps=("app1",))))
        numbers.append(self.ledger.number())
        numbers.append(self.again(self.store).number())
        self.assertEqual(sorted(numbers, key=lambda revision: revision.number), numbers)
        self.assertEqual(len({revision.epoch for revision in numbers}), 1)

    def test_a_store_that_cannot_be_opened_is_refused(self) -> None:
        class Broken(MemoryStore):
            def open(self, restored: Event) -> Deferred[Saved]:
                raise Refused("no such disk")

        self.failureResultOf(Deferred.fromCoroutine(Ledger(Broken(), lambda: 0.0).open()), Refused)


class RestoreTests(SynchronousTestCase):
    """A store that was put back from a backup (Note [A restored store is found out])."""

    def setUp(self) -> None:
        self.store = MemoryStore()
        self.ledger = self.opened(self.store)

    def opened(self, store: MemoryStore) -> Ledger:
        ledger = Ledger(store, lambda: 5.0)
        self.successResultOf(Deferred.fromCoroutine(ledger.open()))
        return ledger

    def add_app(self, ledger: Ledger, name: str = "webapp") -> None:
        self.successResultOf(Deferred.fromCoroutine(ledger.change(lambda desired: Changes(apps=(name,)))))

    def checking(self, ledger: Ledger, revision: Revision) -> Deferred[None]:
        return Deferred.fromCoroutine(ledger.check(revision, "owner", "d1"))

    def is_found_out(self, ledger: Ledger, revision: Revision) -> bool:
        before = ledger.epoch
        self.successResultOf(self.checking(ledger, revision))
        return ledger.epoch != before

    def test_what_a_hub_gave_in_any_life_is_its_own(self) -> None:
        early = self.ledger.number("owner")
        self.add_app(self.ledger)
        late = self.ledger.number("owner")
        again = self.opened(self.store)
        current = again.number("owner")
        for revision in (early, late, current, Revision(again.epoch, 0), Revision("another", 2**61)):
            self.assertFalse(self.is_found_out(again, revision), revision)

    def test_a_number_of_the_lost_state_starts_one_epoch(self) -> None:
        backup = copy(self.store)
        self.add_app(self.ledger)
        lost = self.ledger.number("owner")
        restored = self.opened(backup)
        self.assertTrue(self.is_found_out(restored, lost))
        self.assertFalse(self.is_found_out(restored, lost))
        self.assertEqual([event.what for event in self.successResultOf(backup.events(10))], ["hub restored"])
        self.assertEqual(self.opened(backup).epoch, restored.epoch)

    def test_it_is_found_out_however_often_the_hub_was_started_before_and_after(self) -> None:
        backup = copy(self.store)
        for _ in range(3):
            self.add_app(self.opened(self.store))
        lost = self.opened(self.store).number("owner")
        for _ in range(100):
            restored = self.opened(backup)
        self.assertTrue(self.is_found_out(restored, lost))

    def test_it_is_found_out_after_the_restored_hub_has_saved_more_than_was_lost(self) -> None:
        backup = copy(self.store)
        self.add_app(self.ledger)
        lost = self.ledger.number("owner")
        restored = self.opened(backup)
        for name in ("a", "b", "c"):
            self.add_app(restored, name)
        self.assertGreater(restored.number("another owner").number, lost.number)
        self.assertTrue(self.is_found_out(restored, lost))

    def test_a_life_that_saved_nothing_is_found_out_too(self) -> None:
        backup = copy(self.store)
        lost = self.opened(self.store).number("owner")
        self.assertTrue(self.is_found_out(self.opened(backup), lost))

    def test_several_reports_at_once_start_one_epoch(self) -> None:
        slow = SlowStore()
        ledger = self.opened(slow)
        reports = [self.checking(ledger, Revision(ledger.epoch, 2**60 + number)) for number in range(3)]
        self.assertEqual(len(slow.waiting), 1)
        slow.end()
        for report in reports:
            self.successResultOf(report)
        self.assertEqual((len(slow.waiting), slow.saves), (0, 1))

    def test_a_new_epoch_that_cannot_be_saved_has_not_begun(self) -> None:
        self.store.full = True
        epoch, strange = self.ledger.epoch, Revision(self.ledger.epoch, 2**60)
        self.failureResultOf(self.checking(self.ledger, strange), Refused)
        self.assertEqual(self.ledger.epoch, epoch)
        self.store.full = False
        self.assertTrue(self.is_found_out(self.ledger, strange))
