"""What should be true of a registry, whatever happens to it: a model that is too simple to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from deployd.errors import Busy, DeploydError, NotOwner, Refused, Superseded
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.registry.book import Transaction
from deployd.registry.filter import RowFilter
from deployd.registry.limits import Limits
from deployd.registry.owner import Seat
from deployd.registry.service import Registry
from tests.registry.held_store import HeldStore
from tests.registry.places import Place
from tests.registry.watched import SavedChanges, Table

TIMEOUT = 45.0
QUOTA = 4
OWNERS = ("alice", "bob", "carol")
# Of rows that another registry has taken.
RIVAL = "rival"

# A row is what somebody says of it: its owner, its role, its port.
Rows = dict[str, tuple[str, str, int]]


@define(eq=False)
class Deed:
    """What was decided: the table after it, and the owners that fell with it, each with since when it was away."""

    rows: Rows
    owner: str = ""
    fell: dict[str, float] = field(factory=dict)


@define(eq=False)
class Owner:
    """``held``: its rows as it was last told, and since which revision they stand."""

    seats: list[Seat] = field(factory=list)
    is_here: bool = False
    stands: bool = False
    lost_at: float | None = None
    held: tuple[Rows, Revision] | None = None


class RegistryModel:
    """A registry, and what should be true of it."""

    def __init__(self, new_place: Callable[[], Place]) -> None:
        self.new_place = new_place
        self.place = new_place()
        self.epochs: set[str] = set()
        self.settled: Rows = {}
        self.saved = SavedChanges("", {}, 0)
        # How the table is in a new epoch, if one has to begin.
        self.begins: tuple[Table, int] | None = ({}, 0)
        self.owners = {name: Owner() for name in (*OWNERS, RIVAL)}

    def live(self, is_quick: bool) -> None:
        """A new process on what is in the place; a quick disk saves at once."""
        self.clock = Clock()
        self.deeds: list[Deed] = []
        # How many deeds the save under way brings to the disk.
        self.under_way = 0
        self.hung_up: list[Seat] = []
        self.failed: list[Deed] = []
        self.wrong: list[Failure] = []
        self.ended: list[DeploydError] = []
        self.is_trying_again = False
        self.store = HeldStore(self.place.store(), self.asked, self.stored)
        self.store.is_quick = is_quick
        limits = Limits(rows_per_owner=QUOTA)
        self.registry = Registry(self.clock, self.store, timeout=TIMEOUT, limits=limits, fail=self.ended.append)
        opened: list[None] = []
        self.registry.open().addCallback(opened.append)
        assert opened
        self.place.clean()
        # Few and small, so that those who follow fall behind and get their snapshots in parts.
        self.registry._history._max_changes, self.registry._history._page_bytes = 25, 600
        revision = self.registry.revision
        if self.begins is not None:
            assert revision.epoch not in self.epochs
            self.epochs.add(revision.epoch)
            self.saved, self.begins = SavedChanges(revision.epoch, *self.begins), None
        assert revision == Revision(self.saved.epoch, self.saved.number), "numbers never go back"
        for name, owner in self.owners.items():
            owner.seats, owner.is_here, owner.stands = [], False, False
            owner.lost_at = 0.0 if self.rows_of(name) else None
        self.registry.startService()

    # The model's rules.

    @property
    def now(self) -> float:
        return self.clock.seconds()

    @property
    def decided(self) -> Rows:
        return self.deeds[-1].rows if self.deeds else self.settled

    def rows_of(self, name: str, rows: Rows | None = None) -> Rows:
        found = self.decided if rows is None else rows
        return {row_id: row for row_id, row in found.items() if row[0] == name}

    def asked(self) -> None:
        """A save begins, with all that was decided."""
        self.under_way = len(self.deeds)

    def stored(self, changes: Sequence[RowChange]) -> None:
        """It is on the disk."""
        self.saved.take(changes)
        self.settled = self.deeds[self.under_way - 1].rows
        del self.deeds[: self.under_way]
        self.under_way = 0

    def seat(self, owner: Owner, back: int) -> tuple[Seat | None, bool]:
        """A session of the owner in this life of the registry, the newest or one before; whether it has any power."""
        if back >= len(owner.seats):
            return None, False
        return owner.seats[-1 - back], back == 0 and owner.is_here

    def refusal(self, name: str, row_ids: set[str], after: Rows) -> type[Exception] | None:
        if any(row_id in row_ids for row_id, (owner, _, _) in self.decided.items() if owner != name):
            return NotOwner
        return Refused if len(self.rows_of(name, after)) > QUOTA else None

    def do(self, error: type[Exception] | None, deed: Deed, act: Callable[[], Deferred[Any]]) -> bool:
        """Do it, and see that exactly the expected error comes of it; whether it was decided."""
        before = (list(self.deeds), self.registry._book.revision)
        changes = error is None and deed.rows != self.decided
        if changes:
            self.deeds.append(deed)
        raised: Exception | None = None
        try:
            done = act().addCallbacks(self.told, self.not_done, callbackArgs=(deed,), errbackArgs=(deed,))
            done.addErrback(self.wrong.append)
        except (Superseded, NotOwner, Refused) as problem:
            raised = problem
        assert (type(raised) if raised else None) is error, f"{raised!r} and not {error}"
        assert changes or (self.deeds, self.registry._book.revision) == before
        return raised is None

    def told(self, done: Any, deed: Deed) -> None:
        """What is acknowledged is on the disk, all of it, and nothing else."""
        if isinstance(done, Transaction):
            revision = done.revision
            assert revision.epoch == self.saved.epoch
            assert revision.number <= self.saved.number
            assert said(self.saved.table(revision.number)) == deed.rows
            self.owners[deed.owner].held = self.rows_of(deed.owner, deed.rows), Revision(revision.epoch, done.stands)

    def not_done(self, failure: Failure, deed: Deed) -> None:
        failure.trap(Busy, Superseded)
        self.failed.append(deed)

    def shown(self) -> Rows:
        """What is saved, but for rows whose time is over."""
        gone = {name for deed in self.deeds for name in deed.fell}
        gone |= {
            name
            for name, owner in self.owners.items()
            if owner.lost_at is not None and owner.lost_at + TIMEOUT <= self.now
        }
        return {row_id: row for row_id, row in self.settled.items() if row[0] not in gone}

    def check(self) -> None:
        """What always holds."""
        for failure in self.wrong:
            failure.raiseException()
        rows = self.registry.candidates(RowFilter())
        assert said({row.id: row for row in rows}) == self.shown()
        assert [row.id for row in rows] == sorted(row.id for row in rows)
        assert said(self.saved.table(self.saved.number)) == self.settled
        assert self.registry.revision == Revision(self.saved.epoch, self.saved.number)
        for role in ("http", "db"):
            found = {row.id for row in self.registry.rows(RowFilter(role=role))}
            assert found == {row_id for row_id, row in self.shown().items() if row[1] == role}
        for row in self.registry.rows(RowFilter()):
            owner = self.owners[row.owner]
            is_unknown = not owner.is_here and not self.rows_of(row.owner)
            assert self.registry.is_marked(row) == (owner.lost_at is not None or is_unknown)


def said(table: dict[str, Registration]) -> Rows:
    return {row.id: (row.owner, row.role, row.port) for row in table.values()}
