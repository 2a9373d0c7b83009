"""Rows for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from deployd.interfaces import SavedTable
from deployd.model.registration import Registration
from deployd.registry.book import Book, Transaction
from deployd.registry.filter import RowFilter
from deployd.registry.limits import Limits
from deployd.registry.owner import Seat

COMMIT = "74336bc1db98478e02e69f59e7100895be207389"
ALL = RowFilter()
OTHER = "40548daf17f7d25ec0f1925b97d24bc05043e4ed"


def row(row_id: str = "http-1", port: int = 20001, **changes: Any) -> Registration:
    plain = {"id": row_id, "namespace": COMMIT, "role": "http", "host": "", "port": port, "app": "webapp"}
    return Registration(**(plain | {"release": "v1"} | changes))


def put(done: Transaction) -> list[str]:
    """The ids that were put, in their order."""
    return [change.row.id for change in done.changes if not change.freed]


def freed(done: Transaction) -> list[str]:
    """The ids that were freed, in their order."""
    return [change.row.id for change in done.changes if change.freed]


def ordered(rows: Iterable[Registration]) -> list[Registration]:
    """By id."""
    return sorted(rows, key=lambda one: one.id)


def rows_of(book: Book, wanted: RowFilter = ALL) -> list[Registration]:
    """The rows in the table, by id."""
    return ordered(book.table.matching(wanted))


def empty_book(limits: Limits | None = None) -> SettledBook:
    return SettledBook(SavedTable("epoch", 0), limits)


class SettledBook(Book):
    """A book whose decisions are saved at once."""

    def _settled(self, done: Transaction) -> Transaction:
        if done.changes:
            self.settle(done.changes)
        return done

    def replace(self, seat: Seat, rows: Sequence[Registration]) -> Transaction:
        return self._settled(super().replace(seat, rows))

    def update(self, seat: Seat, put: Sequence[Registration], free: Sequence[str]) -> Transaction:
        return self._settled(super().update(seat, put, free))

    def leave(self, seat: Seat) -> Transaction:
        return self._settled(super().leave(seat))

    def expire(self, now: float, timeout: float) -> Transaction:
        return self._settled(super().expire(now, timeout))
