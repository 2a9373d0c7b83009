"""The row book: who owns which rows, and what they may do to them. Values in, changes out; no clock, no wire, no disk.

What it decides is not in ``table`` yet (Note [The draft is ahead of the table]).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from deployd.errors import NotOwner, PermissionRefused, Refused, UsageError
from deployd.interfaces import SavedTable
from deployd.model.names import is_commit
from deployd.model.registration import Registration, checked, meta_bytes
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.registry.draft import Draft, is_renamed, is_same_meta, is_written
from deployd.registry.limits import Limits
from deployd.registry.owner import Owner, Presence, Seat, Written
from deployd.registry.owners import Owners
from deployd.registry.rows import Rows


@frozen
class Transaction:
    """What one call did, together, and the revision since which it holds.

    ``stands`` is the number of the last change of the owner's rows then; 0 when it has none.
    """

    revision: Revision
    changes: tuple[RowChange, ...] = ()
    stands: int = 0


class Book:
    """The port table and its rules. Every method either does all it was asked or raises and changes nothing.

    ``saved`` is what was in the store, at the moment ``now``.
    """

    def __init__(self, saved: SavedTable, limits: Limits | None = None, now: float = 0.0) -> None:
        self._limits = limits or Limits()
        self.table = Rows(saved.rows)
        self.owners = Owners(saved, self._limits, now)
        self._draft = Draft(self.table, Revision(saved.epoch, saved.number))
        # How many bytes of metadata all rows have.
        self._meta = self.owners.meta

    # Reading.

    def __len__(self) -> int:
        return len(self._draft)

    @property
    def revision(self) -> Revision:
        """That of the last decision."""
        return self._draft.revision

    def is_marked(self, row: Registration) -> bool:
        return self.owners.is_marked(row)

    # Sessions (Note [Rows belong to the owner]).

    def attach(self, owner: str, name: str, host: str, accepted: bool, now: float) -> Seat:
        """A new session of ``owner``, which supersedes its earlier one."""
        return self.owners.attach(owner, name, host, accepted, now)

    def stands(self, seat: Seat) -> Revision:
        """Where the owner's rows last changed; number 0 when it has none."""
        return Revision(self.revision.epoch, self.owners.present(seat).stands)

    def leave(self, seat: Seat) -> Transaction:
        """An orderly goodbye: free the owner's rows now."""
        return self._freed(self.owners.leave(seat))

    def expire(self, now: float, timeout: float) -> Transaction:
        """Free the rows of owners that have been away for ``timeout``; where they are very many, of some."""
        return self._freed(self.owners.fall(now, timeout, self.revision.number))

    # Writing.

    def admit(self, seat: Seat, rows: Sequence[Registration]) -> Sequence[Registration]:
        """Look at ``rows`` before they are written; raise Invalid, NotOwner, PermissionRefused."""
        self.owners.present(seat)
        for row in rows:
            checked(row)
            self._check_owner(seat, row.id)
            if not seat.accepted and is_commit(row.namespace):
                raise PermissionRefused("rows of a commit are written only by drones that the hub has accepted")
        return rows

    def publish(self, seat: Seat, rows: Sequence[Registration]) -> Transaction:
        """``rows``, which were not admitted yet, replace whatever the owner had."""
        return self.replace(seat, self.admit(seat, rows))

    def replace(self, seat: Seat, rows: Sequence[Registration]) -> Transaction:
        """``rows``, admitted, replace whatever the owner had; its session stands for them from now on."""
        owner = self.owners.present(seat)
        ids = _ids(rows)
        for row_id in ids - owner.ids:
            self._check_owner(seat, row_id)
        done = self._apply(owner, seat, rows, owner.ids - ids)
        self.owners.stand(seat)
        return done

    def confirm(self, seat: Seat, stands: Revision) -> Transaction:
        """The owner's rows are right as they last changed at ``stands``; its session stands for them from now on."""
        owner = self.owners.present(seat)
        if not owner.ids or stands != Revision(self.revision.epoch, owner.changed):
            raise Refused("these are not the rows that the registry has: publish them")
        if owner.written is None or not owner.written.is_as(seat):
            raise Refused("these rows would say another host or name than they do: publish them")
        self.owners.stand(seat)
        return Transaction(self.revision, (), owner.stands)

    def update(self, seat: Seat, put: Sequence[Registration], free: Sequence[str]) -> Transaction:
        """Put rows and free ids together; an id that nobody has is free already."""
        owner = self.owners.present(seat)
        if owner.presence is not Presence.STANDING:
            raise Refused("publish all rows once before changing some")
        self._limits.check_update(len(put) + len(free))
        rows = self.admit(seat, put)
        ids, gone = _ids(rows), set(free)
        if not gone.isdisjoint(ids):
            raise UsageError("one update puts and frees the same row")
        for row_id in gone:
            self._check_owner(seat, row_id)
        return self._apply(owner, seat, rows, gone & owner.ids)

    # What becomes of it.

    def settle(self, changes: Sequence[RowChange]) -> None:
        """These, which go on from the last ones settled, are saved."""
        self._draft.settle(changes)
        self.owners.settle(changes[-1].number)

    def undo(self, settled: int, owners: Iterable[str], now: float) -> list[str]:
        """Nothing that was decided after ``settled`` will be, nor what ``owners`` were told; all whom that concerns.

        No session of theirs stands for their rows any more.
        """
        undone, rows = self._draft.undo(settled)
        concerned = self.owners.undo(undone, rows, owners, settled, now)
        self._meta = self.owners.meta
        return concerned

    # The rules.

    def _check_owner(self, seat: Seat, row_id: str) -> None:
        row = self._draft.row(row_id)
        if row is not None and row.owner != seat.owner:
            raise NotOwner(f"the registration {row_id} belongs to another owner")

    def _apply(self, owner: Owner, seat: Seat, put: Sequence[Registration], gone: set[str]) -> Transaction:
        """Take away what is ``gone`` and put what has changed; all that is asked is allowed but for the limits."""
        changed: list[Registration] = []
        renamed: list[str] = []
        more, meta = -len(gone), 0
        for row in put:
            old = self._draft.row(row.id)
            if old is None:
                more += 1
                meta += meta_bytes(row)
            elif is_written(seat, row, old):
                continue
            else:
                if not is_same_meta(old.meta, row.meta):
                    meta += meta_bytes(row) - meta_bytes(old)
                if is_renamed(old, row):
                    # A row that is found by other words than before is gone for those who followed the old ones.
                    renamed.append(row.id)
            changed.append(row)
        for row_id in gone:
            old = self._draft.row(row_id)
            meta -= meta_bytes(old) if old is not None else 0
        self._limits.check_rows(owner, more, len(self._draft) + more)
        self._limits.check_meta(owner, meta, self._meta + meta)
        owner.meta += meta
        self._meta += meta
        owner.ids -= gone
        owner.ids.update([row.id for row in changed])
        changes = self._draft.free(sorted(gone.union(renamed)), more=bool(changed))
        changes += self._draft.put(seat, changed)
        if changes:
            owner.changed = self.revision.number
            had_commits = owner.written is not None and owner.written.has_commits
            owner.written = Written(seat.name, seat.host, seat.accepted or had_commits)
        return Transaction(self.revision, tuple(changes), owner.stands)

    def _freed(self, ids: Iterable[str]) -> Transaction:
        changes = tuple(self._draft.free(sorted(ids)))
        self._meta -= sum(meta_bytes(change.row) for change in changes)
        return Transaction(self.revision, changes)


def _ids(rows: Sequence[Registration]) -> set[str]:
    ids = {row.id for row in rows}
    if len(ids) != len(rows):
        raise UsageError("two rows have the same id")
    return ids
