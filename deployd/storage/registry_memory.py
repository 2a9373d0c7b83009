"""A registry's store in memory, for tests: it survives ``close`` and ``open``, as a disk would."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed

from deployd.errors import Busy, Superseded
from deployd.interfaces import SavedTable
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange

MAX_CHANGES = 50_000


@define
class MemoryTable:
    """What is on the "disk"; several stores may be opened on it, one after the other or as rivals."""

    epoch: str = field(factory=lambda: uuid4().hex)
    number: int = 0
    rows: dict[str, Registration] = field(factory=dict)
    changes: list[RowChange] = field(factory=list)


class MemoryRegistryStore:
    """``full`` makes every save fail, as a full disk does."""

    def __init__(self, table: MemoryTable | None = None, max_changes: int = MAX_CHANGES) -> None:
        self.table = table or MemoryTable()
        self.full = False
        self.saves = 0
        self.max_changes = max_changes

    def open(self) -> Deferred[SavedTable]:
        table = self.table
        rows = sorted(table.rows.values(), key=lambda row: row.revision)
        return succeed(SavedTable(table.epoch, table.number, tuple(rows), tuple(table.changes)))

    def save(self, changes: Sequence[RowChange]) -> Deferred[None]:
        table = self.table
        if changes and changes[0].number != table.number + 1:
            return fail(Superseded("somebody else has written to the registry's table"))
        if self.full:
            return fail(Busy("cannot save to the registry's table: the disk is full"))
        self.saves += 1
        for change in changes:
            table.number = change.number
            if change.freed:
                table.rows.pop(change.row.id, None)
            else:
                table.rows[change.row.id] = change.row
        table.changes = [*table.changes, *changes][-self.max_changes :]
        return succeed(None)

    def close(self) -> Deferred[None]:
        return succeed(None)
