"""The row book: who owns which rows, and what they may do to them. Values in, changes out; no clock, no wire.

Note [Rows belong to the owner]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A row outlives the session that wrote it. ``attach`` starts a newer session of an owner and makes its earlier one
powerless at once, but the owner's rows stay as they are until ``publish`` replaces them all together: nobody who reads
meanwhile sees a gap. A lost session only marks the rows; they fall when the owner has been away for the timeout, or at
once when it says goodbye. A session that attached and has not published does not stand for them yet: they stay marked,
and fall if it takes longer than the timeout.

Note [The epoch of a book in memory]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
This book forgets everything at its end, so each starts a new epoch; owners fill it again by publishing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import define, evolve, field, frozen

from deployd.errors import NotOwner, PermissionRefused, Refused, Superseded, UsageError
from deployd.model.names import is_commit
from deployd.model.registration import Registration, checked
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.planning.leases import Lease, fallen, next_fall
from deployd.registry.filter import RowFilter
from deployd.registry.rows import Rows


@frozen
class Limits:
    """How many rows one owner may have, and all together; how many owners may be remembered at once."""

    rows_per_owner: int = 10_000
    rows: int = 200_000
    owners: int = 20_000


@frozen
class Seat:
    """One session of an owner, as the book knows it.

    ``name`` and ``host`` are what its rows say; ``accepted``: the hub vouches for it, so it may write commits.
    """

    owner: str
    number: int
    name: str
    host: str
    accepted: bool


@frozen
class Transaction:
    """What one call did, together, and the revision since which it holds."""

    revision: Revision
    changes: tuple[RowChange, ...] = ()


@define
class _Owner:
    """What the book remembers of an owner: its newest session and its rows.

    ``lost_at`` is since when no session stands for its rows; None when one does, or when there are none.
    """

    seat: Seat
    connected: bool = True
    published: bool = False
    lost_at: float | None = None
    ids: set[str] = field(factory=set)


class Book:
    """The port table and its rules. Every method either does all it was asked or raises and changes nothing."""

    def __init__(self, epoch: str, limits: Limits | None = None) -> None:
        self.revision = Revision(epoch, 0)
        self._limits = limits or Limits()
        self.table = Rows()
        self._owners: dict[str, _Owner] = {}
        self._seats = 0

    # Reading.

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, wanted: RowFilter | None = None, after: str = "") -> Iterator[Registration]:
        """The rows that match, in the order of their ids; read it before the book changes."""
        return self.table.matching(wanted or RowFilter(), after)

    def is_marked(self, row: Registration) -> bool:
        """Whether the row's owner is away, and the row falls unless it comes back."""
        owner = self._owners.get(row.owner)
        return owner is None or owner.lost_at is not None

    def next_fall(self, timeout: float) -> float | None:
        """When the next owner's rows may fall."""
        return next_fall(self._leases(), timeout)

    # Sessions.

    def attach(self, owner: str, name: str, host: str, accepted: bool, now: float) -> Seat:
        """A new session of ``owner``, which supersedes its earlier one (Note [Rows belong to the owner])."""
        known = self._owners.get(owner)
        if known is None and len(self._owners) >= self._limits.owners:
            raise Refused("the registry has as many owners as it can take")
        self._seats += 1
        seat = Seat(owner, self._seats, name, host, accepted)
        ids = known.ids if known else set()
        self._owners[owner] = _Owner(seat, lost_at=now if ids else None, ids=ids)
        return seat

    def heard(self, seat: Seat, now: float) -> None:
        """The session is at work on its first publication: the owner's time starts anew."""
        owner = self._present(seat)
        if owner.lost_at is not None:
            owner.lost_at = now

    def lose(self, seat: Seat, now: float) -> bool:
        """The session's link is gone: mark its rows. False when it was superseded or has left before."""
        owner = self._owners.get(seat.owner)
        if owner is None or owner.seat != seat or not owner.connected:
            return False
        if owner.ids:
            owner.lost_at, owner.connected, owner.published = now, False, False
        else:
            del self._owners[seat.owner]
        return True

    def leave(self, seat: Seat) -> Transaction:
        """An orderly goodbye: free the owner's rows now."""
        self._present(seat).connected = False
        return self._forget((seat.owner,))

    def expire(self, now: float, timeout: float) -> Transaction:
        """Free the rows of every owner that has been away for ``timeout``."""
        return self._forget(fallen(self._leases(), now, timeout))

    # Writing.

    def publish(self, seat: Seat, rows: Sequence[Registration]) -> Transaction:
        """``rows`` replace whatever the owner had; its session stands for them from now on."""
        owner = self._present(seat)
        put = self._admitted(seat, rows)
        done = self._apply(owner, put, owner.ids - {row.id for row in put}, owner_rows=len(put))
        owner.published, owner.lost_at = True, None
        return done

    def update(self, seat: Seat, put: Sequence[Registration], free: Sequence[str]) -> Transaction:
        """Put rows and free ids together; an id that nobody has is free already."""
        owner = self._present(seat)
        if not owner.published:
            raise Refused("publish all rows once before changing some")
        rows = self._admitted(seat, put)
        gone = set(free)
        if gone.intersection(row.id for row in rows):
            raise UsageError("one update puts and frees the same row")
        for row_id in gone:
            self._check_owner(seat, row_id)
        gone &= owner.ids
        return self._apply(owner, rows, gone, owner_rows=len((owner.ids | {row.id for row in rows}) - gone))

    # The rules.

    def _present(self, seat: Seat) -> _Owner:
        """The owner whose newest session this is; raise Superseded for any other."""
        owner = self._owners.get(seat.owner)
        if owner is None or (owner.seat == seat and not owner.connected):
            raise Superseded("this session of the owner has ended; attach again")
        if owner.seat != seat:
            raise Superseded()
        return owner

    def _admitted(self, seat: Seat, rows: Sequence[Registration]) -> list[Registration]:
        """``rows`` with what the registry fills in; raise Invalid, NotOwner, PermissionRefused, UsageError."""
        if len({row.id for row in rows}) != len(rows):
            raise UsageError("two rows have the same id")
        admitted = []
        for row in rows:
            checked(row)
            self._check_owner(seat, row.id)
            if is_commit(row.namespace) and not seat.accepted:
                raise PermissionRefused("rows of a commit are written only by drones that the hub has accepted")
            admitted.append(evolve(row, host=seat.host, drone=seat.name, owner=seat.owner, revision=0))
        return admitted

    def _check_owner(self, seat: Seat, row_id: str) -> None:
        row = self.table.get(row_id)
        if row is not None and row.owner != seat.owner:
            raise NotOwner(f"the registration {row_id} belongs to another owner")

    def _apply(self, owner: _Owner, put: Iterable[Registration], gone: set[str], owner_rows: int) -> Transaction:
        limits = self._limits
        if owner_rows > limits.rows_per_owner:
            raise Refused(f"an owner may have {limits.rows_per_owner} rows, not {owner_rows}")
        if len(self.table) - len(owner.ids) + owner_rows > limits.rows:
            raise Refused(f"the registry is full: it holds {limits.rows} rows")
        changed = [row for row in put if not _is_same(self.table.get(row.id), row)]
        # A row that is found by other words than before is gone for those who followed the old ones.
        renamed = {row.id for row in changed if _is_renamed(self.table.get(row.id), row)}
        transaction = self._together(gone | renamed, changed)
        owner.ids.difference_update(gone)
        owner.ids.update(row.id for row in changed)
        return transaction

    def _forget(self, owners: Iterable[str]) -> Transaction:
        ids: list[str] = []
        for name in owners:
            owner = self._owners[name]
            ids.extend(owner.ids)
            owner.ids, owner.lost_at = set(), None
            if not owner.connected:
                del self._owners[name]
        return self._together(ids, ())

    def _together(self, gone: Iterable[str], put: Sequence[Registration]) -> Transaction:
        """Take rows away and put others, each with a number of its own."""
        freed = sorted(gone)
        number, last = self.revision.number, self.revision.number + len(freed) + len(put)
        changes: list[RowChange] = []
        for row_id in freed:
            number += 1
            changes.append(RowChange(number, self.table.remove(row_id), freed=True, more=number < last))
        for row in put:
            number += 1
            written = evolve(row, revision=number)
            self.table.put(written)
            changes.append(RowChange(number, written, more=number < last))
        self.revision = Revision(self.revision.epoch, last)
        return Transaction(self.revision, tuple(changes))

    def _leases(self) -> Iterator[Lease]:
        return (Lease(name, owner.lost_at) for name, owner in self._owners.items())


def _is_renamed(old: Registration | None, new: Registration) -> bool:
    """Whether somebody's filter may take only one of them (metadata is not looked at by those who follow)."""
    return old is not None and _names(old) != _names(new)


def _names(row: Registration) -> tuple[str, ...]:
    return row.namespace, row.app, row.release, row.role, row.version


def _is_same(old: Registration | None, new: Registration) -> bool:
    return old is not None and evolve(old, revision=0) == new
