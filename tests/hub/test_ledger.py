"""Changes: decided one after the other, saved first, then true."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.hub.ledger import NOTHING, Ledger
from deployd.interfaces import Saved
from deployd.model.desired import Changes, Desired
from deployd.storage.memory import MemoryStore


class SlowStore(MemoryStore):
    """Saves when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Changes, Deferred[None]]] = []
        self.closed = False

    def save(self, changes: Changes) -> Deferred[None]:
        self.waiting.append((changes, Deferred()))
        return self.waiting[-1][1]

    def end(self) -> None:
        changes, done = self.waiting.pop(0)
        super().save(changes)
        done.callback(None)

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
        self.store.waiting.pop(0)[1].errback(Refused("the disk is full"))
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

    def test_numbers_grow_over_restarts(self) -> None:
        numbers = [self.ledger.number() for _ in range(3)]
        again = Ledger(self.store, lambda: 5.0)
        self.successResultOf(Deferred.fromCoroutine(again.open()))
        numbers.append(again.number())
        self.assertEqual(sorted(numbers, key=lambda revision: revision.number), numbers)
        self.assertEqual(len({revision.epoch for revision in numbers}), 1)

    def test_a_store_that_cannot_be_opened_is_refused(self) -> None:
        class Broken(MemoryStore):
            def open(self) -> Deferred[Saved]:
                raise Refused("no such disk")

        self.failureResultOf(Deferred.fromCoroutine(Ledger(Broken(), lambda: 0.0).open()), Refused)
