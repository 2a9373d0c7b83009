"""All that can happen to a registry.

Owners come, publish, confirm, change rows, leave and are lost; time passes; saves are slow, fail, or are cut off by a
kill that the disk did or did not forestall; the registry starts again; others follow and ask all the while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployd.errors import Refused, Superseded
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.registry.falling import LAST_RETRY
from deployd.registry.filter import RowFilter
from deployd.registry.owner import Seat
from tests.registry.places import Place
from tests.registry.watched import Table, Watcher
from tests.registry.whole_model import OWNERS, RIVAL, TIMEOUT, Deed, RegistryModel, Rows

MAX_WATCHERS = 4
# So many things happen in a process's life at least.
MIN_AGE = 10

owners = st.sampled_from(OWNERS)
ids = st.sampled_from("abcdefghijkl")
some_rows = st.dictionaries(ids, st.tuples(st.sampled_from(["http", "db"]), st.integers(1, 3)), min_size=1, max_size=5)
deeds = st.sampled_from(["publish"] * 3 + ["update"] * 5 + ["come", "confirm", "lose", "leave"])
frees = st.one_of(st.just(set()), st.sets(ids, min_size=1, max_size=3))
backs = st.sampled_from([0, 0, 0, 0, 0, 1])
ends = st.sampled_from(["kill", "kill", "saved and killed", "stop", "stop", "lose the disk", "overtaken", "put back"])
conditions = st.sampled_from(["save"] * 4 + ["fail", "wait", "back up"])
is_quick = st.sampled_from([True, False, False])
filters = st.builds(RowFilter, role=st.sampled_from(["", "http", "db"]))


class RegistryMachine(RegistryModel, RuleBasedStateMachine):
    """Each rule does something to the registry, and says what should become of it."""

    def __init__(self, new_place: Callable[[], Place]) -> None:
        RuleBasedStateMachine.__init__(self)
        RegistryModel.__init__(self, new_place)
        self.watchers: list[Watcher] = []
        self.copy: tuple[str, int, Table, Rows] | None = None
        self.age = 0

    @initialize(is_quick=is_quick)
    def begin(self, is_quick: bool) -> None:
        self.live(is_quick)

    @invariant()
    def it_is_as_it_should_be(self) -> None:
        self.age += 1
        self.check()

    def teardown(self) -> None:
        self.place.clean(all=True)

    # What owners do. Few rules, as Hypothesis leaves some out for a whole run.

    @rule(name=owners, deed=deeds, back=backs, put=some_rows, free=frees)
    def write(self, name: str, deed: str, back: int, put: dict[str, tuple[str, int]], free: set[str]) -> None:
        owner = self.owners[name]
        if deed == "come" or not owner.seats or (not owner.is_here and back == 0 and deed != "lose"):
            self.come(name)
        if deed == "publish" or (deed == "update" and not owner.stands and back == 0):
            self.publish(name, back, put)
        elif deed == "update":
            self.update(name, back, put, free)
        elif deed == "confirm":
            self.confirm(name)
        elif deed == "leave":
            self.leave(name, back)
        elif deed == "lose":
            self.lose(name, back)

    def come(self, name: str) -> None:
        owner = self.owners[name]
        seats: list[Seat] = []
        seats.append(self.registry.attach(name, name, b"", "", "10.0.0.1", lambda: self.hung_up.extend(seats)))
        # One that said goodbye may still be connected.
        assert self.hung_up == owner.seats[-1:] or (not owner.is_here and not self.hung_up)
        self.hung_up.clear()
        owner.seats.append(seats[0])
        owner.is_here, owner.stands = True, False
        owner.lost_at = self.now if self.rows_of(name) else None
        self.do(None, Deed(self.decided, name), lambda: self.registry.stands(seats[0]))

    def publish(self, name: str, back: int, rows: dict[str, tuple[str, int]]) -> None:
        owner = self.owners[name]
        seat, powerful = self.seat(owner, back)
        if seat is None:
            return
        others = {row_id: row for row_id, row in self.decided.items() if row[0] != name}
        after = others | _owned(name, rows)
        error = self.refusal(name, set(rows), after) if powerful else Superseded
        if self.do(error, Deed(after, name), lambda: self.registry.publish(seat, _registrations(rows))):
            owner.stands, owner.lost_at = True, None

    def update(self, name: str, back: int, put: dict[str, tuple[str, int]], free: set[str]) -> None:
        owner = self.owners[name]
        seat, powerful = self.seat(owner, back)
        if seat is None:
            return
        free -= set(put)
        after = {row_id: row for row_id, row in (self.decided | _owned(name, put)).items() if row_id not in free}
        error = self.refusal(name, free.union(put), after) if powerful else Superseded
        if powerful and not owner.stands:
            error = Refused
        self.do(error, Deed(after, name), lambda: self.registry.update(seat, _registrations(put), sorted(free)))

    def confirm(self, name: str) -> None:
        """It may be refused at any time, but never done for other rows than the registry has."""
        owner = self.owners[name]
        seat, powerful = self.seat(owner, 0)
        if seat is None or not powerful or owner.held is None:
            return
        rows, revision = owner.held
        try:
            done = self.registry.confirm(seat, revision)
        except Refused:
            return
        assert rows == self.rows_of(name)
        owner.stands, owner.lost_at = True, None
        self.do(None, Deed(self.decided, name), lambda: done)

    def leave(self, name: str, back: int) -> None:
        owner = self.owners[name]
        seat, powerful = self.seat(owner, back)
        if seat is None:
            return
        after = {row_id: row for row_id, row in self.decided.items() if row[0] != name}
        if self.do(None if powerful else Superseded, Deed(after, name), lambda: self.registry.leave(seat)):
            owner.is_here, owner.stands, owner.lost_at = False, False, None

    def lose(self, name: str, back: int) -> None:
        seat, powerful = self.seat(self.owners[name], back)
        if seat is not None:
            self.registry.lost(seat)
        if powerful:
            self.lost(name)

    def lost(self, name: str) -> None:
        owner = self.owners[name]
        owner.is_here, owner.stands = False, False
        owner.lost_at = self.now if self.rows_of(name) else None

    # What happens to all.

    @rule(
        deed=st.sampled_from(["save"] * 4 + ["fail", "wait", "back up"]),
        seconds=st.sampled_from([1.0, 20.0, 45.0, 100.0]),
    )
    def go_on(self, deed: str, seconds: float) -> None:
        if deed == "save" and self.store.is_saving:
            self.store.let_through()
        elif deed == "fail" and self.store.is_saving:
            self.fail_to_save()
        elif deed == "wait":
            self.pass_time(seconds)
        elif deed == "back up":
            self.back_up()

    def pass_time(self, seconds: float) -> None:
        if self.is_trying_again:
            seconds = max(seconds, LAST_RETRY)
        falling = {
            name: owner.lost_at
            for name, owner in self.owners.items()
            if owner.lost_at is not None and owner.lost_at + TIMEOUT <= self.now + seconds
        }
        if falling:
            rows = {row_id: row for row_id, row in self.decided.items() if row[0] not in falling}
            self.deeds.append(Deed(rows, fell=falling))
            for name in falling:
                self.owners[name].lost_at = None
        self.clock.advance(seconds)
        self.is_trying_again = False

    def fail_to_save(self) -> None:
        undone, self.deeds, self.under_way = self.deeds, [], 0
        fell: dict[str, float] = {}
        concerned = set()
        before = self.settled
        for deed in undone:
            fell.update(deed.fell)
            concerned |= {owner for _, (owner, _, _) in before.items() ^ deed.rows.items()}
            before = deed.rows
        self.failed.clear()
        self.store.refuse()
        concerned |= {deed.owner for deed in self.failed}
        assert {deed.owner for deed in undone if deed.owner} <= {deed.owner for deed in self.failed}
        for name in concerned:
            owner = self.owners[name]
            owner.stands = False
            since = self.now if owner.is_here else fell.get(name, self.now)
            owner.lost_at = since if self.rows_of(name) else None
        self.is_trying_again = bool(fell)
        hung_up, self.hung_up = self.hung_up, []
        connected = {name for name in concerned if self.owners[name].is_here}
        assert connected <= {seat.owner for seat in hung_up} <= concerned
        for seat in hung_up:
            self.registry.lost(seat)
            if seat.owner in connected:
                self.lost(seat.owner)

    @precondition(lambda self: self.age >= MIN_AGE)
    @rule(how=ends, is_quick=is_quick)
    def end(self, how: str, is_quick: bool) -> None:
        """A kill, before or after what was being saved came to the disk; an orderly stop, which waits for the disk."""
        if how == "saved and killed" and self.store.is_saving:
            self.store.store()
        if how == "stop":
            stopped: list[None] = []
            self.registry.stopService().addCallback(stopped.append)
            while self.store.is_saving:
                assert not stopped
                self.store.let_through()
            assert stopped
            assert self.deeds == []
        if how == "overtaken":
            self.be_overtaken()
        if how == "lose the disk":
            self.place.clean(all=True)
            self.place, self.settled, self.begins, self.copy = self.new_place(), {}, ({}, 0), None
        if how == "put back" and self.copy is not None:
            self.put_back(*self.copy)
        self.live(is_quick)
        self.age = 0

    def be_overtaken(self) -> None:
        """Another registry was started on the same store, and has written."""
        number = self.saved.number + 1
        row = Registration("rival", "default", "http", "", number % 3 + 1, owner=RIVAL, revision=number)
        change = RowChange(number, row)
        store = self.place.store()
        saved: list[Any] = []
        store.open().addCallback(saved.append)
        store.save([change]).addCallback(saved.append)
        assert saved[0].number == number - 1
        if self.store.is_saving:
            self.store.overtaken()
            assert [type(error) for error in self.ended] == [Superseded]
        assert len(saved) == 2
        self.settled = self.settled | {row.id: (RIVAL, row.role, row.port)}
        self.saved.take([change])

    def back_up(self) -> None:
        self.place.back_up()
        self.copy = self.saved.epoch, self.saved.number, self.saved.table(self.saved.number), self.settled

    def put_back(self, epoch: str, number: int, table: Table, rows: Rows) -> None:
        self.place.clean(all=True)
        self.place.put_back()
        if (epoch, number) != (self.saved.epoch, self.saved.number):
            # Above all numbers that somebody was told.
            self.settled, self.begins = rows, (table, self.saved.number + 1)

    # Those who follow and ask.

    @precondition(lambda self: len(self.watchers) < MAX_WATCHERS)
    @rule(wanted=filters, back=st.one_of(st.none(), st.integers(-2, 40)))
    def begin_to_watch(self, wanted: RowFilter, back: int | None) -> None:
        """From nowhere, or from where it says that it was."""
        if back is None:
            self.watchers.append(Watcher(wanted))
        elif back <= self.saved.number:
            self.watchers.append(Watcher.at(self.saved, self.saved.number - back, wanted))
            if back < 0:
                # Nobody has been where the table has yet to come.
                self.watchers[-1].follow(self.registry, self.saved)

    @rule(which=st.integers(0, MAX_WATCHERS), pages=st.sampled_from([1, 1, 1, 1, 2, 0, 100]))
    def follow(self, which: int, pages: int) -> None:
        """One or all of them some pages, or as far as they can, or no more."""
        for watcher in self.watchers[:] if which == MAX_WATCHERS else self.watchers[which : which + 1]:
            if not pages and which != MAX_WATCHERS:
                self.watchers.remove(watcher)
            while pages and watcher.follow(self.registry, self.saved) and pages > 1:
                pages -= 1
            assert pages < 10 or watcher.number == self.saved.number


def _owned(name: str, rows: dict[str, tuple[str, int]]) -> Rows:
    return {row_id: (name, role, port) for row_id, (role, port) in rows.items()}


def _registrations(rows: dict[str, tuple[str, int]]) -> list[Registration]:
    return [Registration(row_id, "default", role, "", port) for row_id, (role, port) in rows.items()]
