"""The book against a model that is too simple to be wrong: for each owner a dict, a session, and when it was lost."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import NotOwner, Refused, Superseded
from deployd.interfaces import SavedTable
from deployd.model.registration import Registration
from deployd.registry.book import Book, Transaction
from deployd.registry.limits import Limits
from deployd.registry.owner import Presence, Seat
from tests.registry.rows import empty_book, freed, row, rows_of

TIMEOUT = 45.0
QUOTA = 4

owners = st.sampled_from(["alice", "bob", "carol"])
ids = st.sampled_from(["a", "b", "c", "d", "e", "f"])
some_rows = st.dictionaries(ids, st.integers(1, 3), max_size=5)


@define
class _Known:
    seats: list[Seat] = field(factory=list)
    live: bool = False
    published: bool = False
    lost_at: float | None = None
    rows: dict[str, int] = field(factory=dict)


class BookMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.book = empty_book(Limits(rows_per_owner=QUOTA))
        self.now = 0.0
        self.known = {owner: _Known() for owner in ("alice", "bob", "carol")}
        self.last = self.book.revision

    # The model's rules.

    def seat(self, owner: str, back: int) -> tuple[Seat, bool] | None:
        """The owner's newest session, or one before it; whether it has any power."""
        known = self.known[owner]
        if back >= len(known.seats):
            return None
        return known.seats[-1 - back], back == 0 and known.live

    def taken(self, owner: str, names: set[str]) -> bool:
        return any(names & set(known.rows) for name, known in self.known.items() if name != owner)

    def expected(self, owner: str, powerful: bool, names: set[str], after: int) -> type[Exception] | None:
        if not powerful:
            return Superseded
        if self.taken(owner, names):
            return NotOwner
        return Refused if after > QUOTA else None

    # What may happen.

    @rule(owner=owners)
    def attach(self, owner: str) -> None:
        known = self.known[owner]
        known.seats.append(self.book.attach(owner, owner, "10.0.0.1", True, self.now))
        known.live, known.published = True, False
        known.lost_at = self.now if known.rows else None

    @rule(owner=owners, back=st.integers(0, 1), rows=some_rows)
    def publish(self, owner: str, back: int, rows: dict[str, int]) -> None:
        found = self.seat(owner, back)
        if found is None:
            return
        seat, powerful = found
        error = self.expected(owner, powerful, set(rows), len(rows))
        if self._same(error, lambda: self.book.publish(seat, _rows(rows))):
            known = self.known[owner]
            known.rows, known.published, known.lost_at = dict(rows), True, None

    @rule(owner=owners, back=st.integers(0, 1), put=some_rows, free=st.sets(ids, max_size=3))
    def update(self, owner: str, back: int, put: dict[str, int], free: set[str]) -> None:
        found = self.seat(owner, back)
        if found is None:
            return
        seat, powerful = found
        known = self.known[owner]
        free -= set(put)
        after = {name: port for name, port in (known.rows | put).items() if name not in free}
        error = self.expected(owner, powerful, set(put) | free, len(after))
        if powerful and not known.published:
            error = Refused
        if self._same(error, lambda: self.book.update(seat, _rows(put), sorted(free))):
            known.rows = after

    @rule(owner=owners, back=st.integers(0, 1))
    def lose(self, owner: str, back: int) -> None:
        found = self.seat(owner, back)
        if found is None:
            return
        seat, powerful = found
        known = self.known[owner]
        assert self.book.owners.lose(seat, self.now) == powerful
        if powerful:
            known.live, known.published = False, False
            known.lost_at = self.now if known.rows else None

    @rule(owner=owners, back=st.integers(0, 1))
    def leave(self, owner: str, back: int) -> None:
        found = self.seat(owner, back)
        if found is None:
            return
        seat, powerful = found
        if self._same(None if powerful else Superseded, lambda: self.book.leave(seat)):
            self.known[owner] = _Known(self.known[owner].seats)

    @rule(seconds=st.sampled_from([1.0, 20.0, 45.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        gone = set(freed(self.book.expire(self.now, TIMEOUT)))
        fell = set()
        for known in self.known.values():
            if known.lost_at is not None and known.lost_at + TIMEOUT <= self.now:
                fell |= set(known.rows)
                known.rows, known.lost_at = {}, None
        assert gone == fell

    # What always holds.

    @invariant()
    def the_tables_agree(self) -> None:
        expected = {
            name: (port, owner, known.lost_at is not None)
            for owner, known in self.known.items()
            for name, port in known.rows.items()
        }
        found = {row.id: (row.port, row.owner, self.book.is_marked(row)) for row in rows_of(self.book)}
        assert found == expected
        assert list(found) == sorted(found)

    @invariant()
    def revisions_only_grow(self) -> None:
        assert self.book.revision.reached(self.last)
        assert all(row.revision <= self.book.revision.number for row in rows_of(self.book))
        self.last = self.book.revision

    def _same(self, error: type[Exception] | None, act: Callable[[], object]) -> bool:
        """Do it, and see that exactly the expected error comes of it; whether it was done."""
        before = (rows_of(self.book), self.book.revision)
        raised: Exception | None = None
        try:
            act()
        except (Superseded, NotOwner, Refused) as problem:
            raised = problem
        assert (type(raised) if raised else None) is error
        assert raised is None or (rows_of(self.book), self.book.revision) == before
        return raised is None


def _rows(ports: dict[str, int]) -> list[Registration]:
    return [row(name, port) for name, port in ports.items()]


class BookModelTests(SynchronousTestCase):
    def test_the_book_does_what_the_model_does(self) -> None:
        steps = settings(max_examples=60, stateful_step_count=40, deadline=None)
        run_state_machine_as_test(BookMachine, settings=steps)


deeds = st.tuples(
    st.sampled_from(["attach", "publish", "publish", "update", "update", "leave", "lose", "expire", "settle", "undo"]),
    owners,
    st.dictionaries(ids, st.integers(0, 3), max_size=5),
)


class UndoTests(SynchronousTestCase):
    """Note [The draft is ahead of the table]."""

    @settings(max_examples=80, deadline=None)
    @given(st.lists(deeds, max_size=40))
    def test_what_is_undone_never_was(self, done: list[tuple[str, str, dict[str, int]]]) -> None:
        self.book, self.now = Book(SavedTable("epoch", 0)), 0.0
        self.seats: dict[str, Seat] = {}
        self.waiting: list[Transaction] = []
        for deed in [*done, ("undo", "", {})]:
            self.now += 1
            try:
                decided = self._do(*deed)
            except (Superseded, NotOwner, Refused):
                continue
            if decided is not None and decided.changes:
                self.waiting.append(decided)
            # Whoever decides next is judged by all of it.
            last = self.waiting[-1].revision if self.waiting else self.book.revision
            self.assertEqual(self.book.revision, last)

    def _do(self, what: str, name: str, ports: dict[str, int]) -> Transaction | None:
        rows = [row(one, port, meta={"port": "x" * port}) for one, port in ports.items() if port]
        if what == "undo":
            self._undo()
        elif what == "settle":
            for decided in self.waiting[:2]:
                self.book.settle(decided.changes)
            del self.waiting[:2]
        elif what == "expire":
            self.now += TIMEOUT
            return self.book.expire(self.now, TIMEOUT)
        elif what == "attach" or name not in self.seats:
            self.seats[name] = self.book.attach(name, name, "10.0.0.1", True, self.now)
        elif what == "lose":
            self.book.owners.lose(self.seats[name], self.now)
        elif what == "leave":
            return self.book.leave(self.seats[name])
        elif what == "publish":
            return self.book.publish(self.seats[name], rows)
        else:
            return self.book.update(self.seats[name], rows, [one for one, port in ports.items() if not port])
        return None

    def _undo(self) -> None:
        """The book is as one that was opened now."""
        settled = self.waiting[0].changes[0].number - 1 if self.waiting else self.book.revision.number
        self.waiting.clear()
        self.book.undo(settled, list(self.seats), self.now)
        kept = sorted(rows_of(self.book), key=lambda one: one.revision)
        fresh = Book(SavedTable("epoch", settled, tuple(kept)), now=self.now)
        self.assertEqual((len(self.book), self.book.revision), (len(fresh), fresh.revision))
        self.assertEqual((self.book._meta, self.book.owners.meta), (fresh._meta, fresh.owners.meta))
        mine = {name: owner.ids for name, owner in self.book.owners._owners.items() if owner.ids}
        self.assertEqual(mine, {name: owner.ids for name, owner in fresh.owners._owners.items()})
        self.assertEqual(set(self.book.owners._leases), set(mine))
        self.assertFalse(self.book.owners._fallen)
        for name, owner in self.book.owners._owners.items():
            self.assertTrue(owner.ids or owner.presence is not Presence.AWAY, name)
