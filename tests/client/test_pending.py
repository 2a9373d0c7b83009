"""What an owner wants, what is acknowledged, and who is told of it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.client.pending import MAX_FREES, MAX_WAITING, Batch, Pending
from deployd.errors import Busy, DeploydError, NotOwner
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.wire.codec import to_json
from deployd.wire.documents import dump
from tests.client.rows_contract import row

REVISION = Revision("epoch", 1)
LATER = Revision("epoch", 2)


class PendingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pending = Pending()
        self.pending.published([])

    def sent(self) -> Batch:
        batch = self.pending.batch()
        assert batch is not None
        return batch

    def test_a_change_made_while_an_update_is_on_the_way_is_not_acknowledged_by_it(self) -> None:
        first = self.pending.put(row(port=1))
        batch = self.sent()
        second = self.pending.put(row(port=2))
        self.pending.accepted(batch, REVISION)
        self.assertEqual(self.successResultOf(first), REVISION)
        self.assertNoResult(second)
        self.pending.accepted(self.sent(), LATER)
        self.assertEqual(self.successResultOf(second), LATER)
        self.assertIsNone(self.pending.batch())

    def test_what_was_freed_while_away_is_not_published_again(self) -> None:
        self.pending.put(row("a"))
        self.pending.put(row("b"))
        self.pending.accepted(self.sent(), REVISION)
        self.pending.lost()
        self.pending.free("a")
        self.assertEqual([kept.id for kept in self.pending.kept()], ["b"])

    def test_a_changed_row_is_published_as_it_was_acknowledged_and_then_updated(self) -> None:
        """The new state may be refused; that must not take the others down."""
        self.pending.put(row(port=1))
        self.pending.accepted(self.sent(), REVISION)
        self.pending.lost()
        done = self.pending.put(row(port=2))
        kept = self.pending.kept()
        self.assertEqual([one.port for one in kept], [1])
        self.pending.published(kept)
        self.assertEqual([one.port for one in self.sent().put], [2])
        self.assertNoResult(done)

    def test_a_refusal_does_not_undo_what_was_asked_since(self) -> None:
        first = self.pending.put(row(port=1))
        batch = self.sent()
        second = self.pending.put(row(port=2))
        self.assertTrue(self.pending.refused(batch, NotOwner()))
        self.failureResultOf(first, NotOwner)
        self.assertNoResult(second)
        self.assertEqual([one.port for one in self.sent().put], [2])

    def test_a_refused_change_leaves_the_row_as_it_was(self) -> None:
        self.pending.put(row(port=1))
        self.pending.accepted(self.sent(), REVISION)
        refused = self.pending.put(row(port=2))
        self.pending.refused(self.sent(), NotOwner())
        self.failureResultOf(refused, NotOwner)
        self.assertEqual([one.port for one in self.pending.kept()], [1])
        self.assertEqual(self.pending.wanted["http-1"].port, 1)

    def test_a_refused_update_goes_again_one_by_one_and_what_came_meanwhile_together(self) -> None:
        self.pending.put(row("a"))
        taken = self.pending.put(row("b"))
        batch = self.sent()
        self.pending.put(row("c"))
        self.pending.put(row("d"))
        self.assertFalse(self.pending.refused(batch, NotOwner()))
        self.assertNoResult(taken)
        sent = []
        while (batch := self.pending.batch()) is not None:
            sent.append(batch.ids)
            if batch.ids == ("b",):
                self.assertTrue(self.pending.refused(batch, NotOwner()))
            else:
                self.pending.accepted(batch, REVISION)
        self.assertEqual(sent, [("a",), ("b",), ("c", "d")])
        self.failureResultOf(taken, NotOwner)
        for name in ("a", "d"):
            self.pending.put(row(name, port=2))
        self.assertEqual(self.sent().ids, ("a", "d"))

    def test_updates_fit_a_value_on_the_wire(self) -> None:
        for number in range(500):
            self.pending.put(row(f"put-{number}", meta={"k": "v" * 1000}))
        for number in range(1000):
            self.pending.free(f"{'free' * 30}-{number}")
        covered = 0
        while (batch := self.pending.batch()) is not None:
            self.assertLess(sum(len(dump(to_json(one))) + 1 for one in batch.put), 60_000)
            self.assertLessEqual(len(batch.free), MAX_FREES)
            self.assertLess(len(dump(list(batch.free))), 60_000)
            covered += len(batch.ids)
        self.assertEqual(covered, 1500)

    def test_waiting_is_bounded_and_giving_up_makes_room(self) -> None:
        waiting = [self.pending.free(str(number)) for number in range(MAX_WAITING)]
        with self.assertRaises(Busy):
            self.pending.free("one more")
        waiting[0].addErrback(lambda _: None).cancel()
        self.pending.free("one more")

    def test_one_who_gives_up_while_others_are_told_is_no_trouble(self) -> None:
        first, second = self.pending.put(row(port=1)), self.pending.put(row(port=2))
        second.addErrback(lambda _: None)
        first.addCallback(lambda _: second.cancel())
        self.pending.accepted(self.sent(), REVISION)
        self.successResultOf(first)


class PendingMachine(RuleBasedStateMachine):
    """An owner and a registry between which anything may be lost; some ids belong to somebody else."""

    ids = st.sampled_from(["a", "b", "c", "d", "taken-1", "taken-2"])

    @initialize()
    def begin(self) -> None:
        self.pending = Pending()
        self.asked: dict[str, int] = {}
        self.table: dict[str, Registration] = {}
        self.stands = 0
        self.up = False
        self.flights: list[Batch] = []
        # How many of them the registry has done, though nobody was answered yet.
        self.done = 0
        self.number = 0
        self.errors: list[type[Exception]] = []

    @rule(name=ids, port=st.integers(1, 3), patient=st.booleans())
    def put(self, name: str, port: int, patient: bool) -> None:
        self.asked[name] = port
        self._watch(self.pending.put(row(name, port)), patient)

    @rule(name=ids, patient=st.booleans())
    def free(self, name: str, patient: bool) -> None:
        self.asked.pop(name, None)
        self._watch(self.pending.free(name), patient)

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self) -> None:
        if self.pending.stands == Revision("epoch", self.stands):
            self.pending.confirmed()
        else:
            kept = self.pending.kept()
            self._become({one.id: one for one in kept})
            self.pending.published(kept, Revision("epoch", self.stands))
        self.up = True

    @precondition(lambda self: self.up and len(self.flights) < 3)
    @rule()
    def send(self) -> None:
        batch = self.pending.batch()
        if batch is not None:
            assert not {name for flight in self.flights for name in flight.ids} & set(batch.ids)
            self.flights.append(batch)

    @precondition(lambda self: len(self.flights) > self.done)
    @rule()
    def do(self) -> None:
        """The registry does the next one; its answer takes a while."""
        self._apply(self.flights[self.done])
        self.done += 1

    @precondition(lambda self: self.flights)
    @rule()
    def answer(self) -> None:
        if not self.done:
            self.do()
        flight = self.flights.pop(0)
        self.done -= 1
        if _is_taken(flight):
            if self.pending.refused(flight, NotOwner()) and flight.ids[0] not in self.pending._changed:
                self.asked.pop(flight.ids[0], None)
            return
        self.number += 1
        # With what it has done meanwhile.
        self.pending.accepted(flight, Revision("epoch", self.number), Revision("epoch", self.stands))

    @precondition(lambda self: self.up)
    @rule(arrived=st.booleans())
    def lose(self, arrived: bool) -> None:
        """The link is lost; updates on the way may have arrived or not."""
        if arrived:
            while len(self.flights) > self.done:
                self.do()
        self.up, self.flights, self.done = False, [], 0
        self.pending.lost()

    @rule()
    def forget(self) -> None:
        """The rows fall."""
        if self.up:
            self.lose(False)
        self._become({})

    @invariant()
    def nothing_that_was_asked_is_forgotten(self) -> None:
        assert {name: one.port for name, one in self.pending.wanted.items()} == self.asked

    def teardown(self) -> None:
        """Left in peace, the registry comes to have what was asked, and nobody waits any more."""
        if not hasattr(self, "pending"):
            return
        if not self.up:
            self.connect()
        for _ in range(80):
            if not self.flights:
                self.send()
            if not self.flights:
                break
            self.answer()
        assert {name: one.port for name, one in self.table.items()} == self.asked
        assert self.pending._waiters == 0
        assert not self.pending._waiting

    def _apply(self, batch: Batch) -> None:
        if not _is_taken(batch):
            put = {one.id: one for one in batch.put}
            self._become({name: one for name, one in (self.table | put).items() if name not in batch.free})

    def _become(self, table: dict[str, Registration]) -> None:
        if table != self.table:
            self.table, self.stands = table, self.stands + 1

    def _watch(self, done: Deferred[Revision], patient: bool) -> None:
        done.addErrback(lambda failure: self.errors.append(failure.trap(DeploydError, CancelledError)))
        if not patient:
            done.cancel()


def _is_taken(batch: Batch) -> bool:
    return any(name.startswith("taken") for name in batch.ids)


class PendingModelTests(SynchronousTestCase):
    def test_the_registry_comes_to_have_what_was_asked_whatever_is_lost(self) -> None:
        steps = settings(max_examples=100, stateful_step_count=50, deadline=None)
        run_state_machine_as_test(PendingMachine, settings=steps)
