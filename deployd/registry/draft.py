"""The port table as it was decided, of which a part is still on its way to the disk.

Note [The draft is ahead of the table]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Whoever writes is judged by all that was decided before, on the disk or on its way there; whoever reads sees what is on
the disk. So what is decided goes on top of ``table`` and into it with ``settle``, once it is saved. If it cannot be
saved, ``undo`` takes back all that is not: numbers too, which nobody has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from sys import intern
from typing import Any

from deployd.model.registration import NO_META, Registration
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.registry.owner import Seat
from deployd.registry.rows import Rows


class Draft:
    """``table`` and what is ahead of it; ``revision`` is that of the last decision."""

    def __init__(self, table: Rows, revision: Revision) -> None:
        self.table = table
        self.revision = revision
        self._count = len(table)
        # The last change of each row that is not settled.
        self._ahead: dict[str, RowChange] = {}

    def __len__(self) -> int:
        return self._count

    def row(self, row_id: str) -> Registration | None:
        """The row as it was decided last."""
        change = self._ahead.get(row_id)
        if change is None:
            return self.table.get(row_id)
        return None if change.freed else change.row

    def free(self, gone: Sequence[str], more: bool = False) -> list[RowChange]:
        """Take rows away, all of which are there; ``more`` will be done together with that."""
        number, last = self.revision.number, self.revision.number + len(gone)
        changes = []
        for row_id in gone:
            row = self.row(row_id)
            if row is None:
                raise AssertionError(f"{row_id} is not there")
            number += 1
            change = self._ahead[row_id] = RowChange(number, row, True, more or number < last)
            changes.append(change)
        self._count -= len(changes)
        self.revision = Revision(self.revision.epoch, last)
        return changes

    def put(self, seat: Seat, rows: Sequence[Registration]) -> list[RowChange]:
        """Put rows as ``seat`` writes them."""
        number, last = self.revision.number, self.revision.number + len(rows)
        ahead, table = self._ahead, self.table
        changes = []
        for row in rows:
            row_id = row.id
            number += 1
            earlier = ahead.get(row_id)
            self._count += table.get(row_id) is None if earlier is None else earlier.freed
            change = ahead[row_id] = RowChange(number, _written(seat, row, number), False, number < last)
            changes.append(change)
        self.revision = Revision(self.revision.epoch, last)
        return changes

    def settle(self, changes: Sequence[RowChange]) -> None:
        """These, which go on from the last ones settled, are saved."""
        ahead, table = self._ahead, self.table
        for change in changes:
            row_id = change.row.id
            if change.freed:
                table.remove(row_id)
            else:
                table.put(change.row)
            if ahead[row_id] is change:
                del ahead[row_id]

    def undo(self, settled: int) -> tuple[list[RowChange], list[Registration]]:
        """Nothing that was decided after ``settled`` will be: the last change of each row, and the rows that stay."""
        undone = list(self._ahead.values())
        rows = [row for row_id in self._ahead if (row := self.table.get(row_id)) is not None]
        self._ahead = {}
        self._count = len(self.table)
        self.revision = Revision(self.revision.epoch, settled)
        return undone, rows


def _written(seat: Seat, row: Registration, number: int) -> Registration:
    """``row`` with what the registry fills in; names that many rows have in common are held once."""
    return Registration(
        row.id,
        intern(row.namespace),
        intern(row.role),
        seat.host,
        row.port,
        intern(row.app),
        intern(row.release),
        seat.name,
        intern(row.version),
        row.meta or NO_META,
        seat.owner,
        number,
    )


def is_written(seat: Seat, row: Registration, old: Registration) -> bool:
    """Whether ``old`` is what ``seat`` would make of ``row``."""
    return (
        old.port == row.port
        and not is_renamed(old, row)
        and old.host == seat.host
        and old.drone == seat.name
        and is_same_meta(old.meta, row.meta)
    )


def is_same_meta(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether it is the same as JSON, in the same order. In Python, 1 is equal to True."""
    if old != new:
        return False
    kinds = list(map(type, old.values()))
    if kinds != list(map(type, new.values())):
        return False
    return not (dict in kinds or list in kinds) or dumps(old) == dumps(new)


def is_renamed(old: Registration, new: Registration) -> bool:
    """Whether somebody's filter may take only one of them (metadata is not looked at by those who follow)."""
    return (
        old.namespace != new.namespace
        or old.role != new.role
        or old.app != new.app
        or old.release != new.release
        or old.version != new.version
    )
