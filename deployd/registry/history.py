"""The table's last changes, and what comes next for somebody who is at a position."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import Any

from attrs import define, evolve, field

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.registry.filter import RowFilter
from deployd.registry.position import Phase, Position
from deployd.registry.rows import Rows
from deployd.wire.documents import dump
from deployd.wire.paging import PAGE_BYTES

MAX_CHANGES = 50_000
# So many are looked at for one page, whether its reader wants them or not.
MAX_LOOKED = 20_000

Line = dict[str, Any]


@define(slots=False)
class Page:
    """What follows a position: lines as docs/registry has them, and where to go on.

    ``whole``: with these lines the table is as it was at some revision; else lines that belong with them follow.
    """

    position: Position
    lines: tuple[Line, ...] = ()
    whole: bool = True

    @property
    def revision(self) -> Revision:
        return Revision(self.position.epoch, self.position.number)

    @cached_property
    def text(self) -> bytes:
        """The lines as a JSON list; those at the same place share it."""
        return dump(self.lines)


class History:
    """Follows ``rows``, which are ``revision``'s, and keeps the last changes after it."""

    def __init__(
        self,
        rows: Rows,
        revision: Revision,
        changes: Iterable[RowChange] = (),
        max_changes: int = MAX_CHANGES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self.revision = revision
        self._rows = rows
        self._page_bytes = page_bytes
        self._max_changes = max_changes
        # Their numbers follow each other, and the last one's is the revision's.
        self._changes = list(changes)
        self._pages: dict[tuple[Position, RowFilter], Page] = {}

    def add(self, changes: Iterable[RowChange]) -> None:
        """Take what was done to the rows."""
        self._changes.extend(changes)
        if not self._changes:
            return
        self.revision = Revision(self.revision.epoch, self._changes[-1].number)
        self._pages.clear()
        # A tenth more than is promised, so that the list is not moved for each change.
        if len(self._changes) > self._max_changes * 1.1:
            del self._changes[: -self._max_changes]

    def after(self, position: Position | None, wanted: RowFilter) -> Page:
        """What comes after ``position``, as much as fits into a page; no lines at the end."""
        start = self._start(position)
        if start is None:
            end = self.revision.number
            start = Position(self.revision.epoch, 0, Phase.SNAPSHOT, end)
            page = self._page(start, wanted)
            reset = {"type": "reset", "revision": 0, "row": None, "epoch": self.revision.epoch}
            if page.lines or not page.whole:
                reset["more"] = True
            return Page(page.position, (reset, *page.lines), page.whole)
        return self._page(start, wanted)

    def _start(self, position: Position | None) -> Position | None:
        """Where to go on from ``position``; None when only a reset helps."""
        if position is None or position.epoch not in ("", self.revision.epoch):
            return None
        position = evolve(position, epoch=self.revision.epoch)
        # In a snapshot the history is needed from its end on.
        needed = position.until if position.phase is Phase.SNAPSHOT else position.number
        furthest = max(position.number, position.until)
        return position if self._first <= needed and furthest <= self.revision.number else None

    @property
    def _first(self) -> int:
        """The oldest position from which the history goes on."""
        return self.revision.number - len(self._changes)

    def _page(self, start: Position, wanted: RowFilter) -> Page:
        key = (start, wanted)
        if key not in self._pages:
            make = self._snapshot if start.phase is Phase.SNAPSHOT else self._going_on
            self._pages[key] = make(start, wanted)
        return self._pages[key]

    def _snapshot(self, start: Position, wanted: RowFilter) -> Page:
        """The rows that are left of what was there at the reset."""
        page = _Filling(start.number, self._page_bytes)
        for row in self._rows.since(start.number, wanted):
            if row.revision > start.until:
                break
            if not page.take(RowChange(row.revision, row), wanted):
                return page.ended(evolve(start, number=page.number))
        now = self.revision.number
        if start.until < now:
            return page.ended(Position(start.epoch, start.until, Phase.CATCHING_UP, now))
        page.whole()
        return page.ended(Position(start.epoch, now))

    def _going_on(self, start: Position, wanted: RowFilter) -> Page:
        page = _Filling(start.number, self._page_bytes)
        page.is_whole = start.phase is Phase.LIVE
        for change in islice(self._changes, start.number - self._first, None):
            if not page.take(change, wanted):
                break
            if not change.more and change.number >= start.until:
                page.whole()
        if page.number < start.until:
            return page.ended(evolve(start, number=page.number))
        return page.ended(Position(start.epoch, page.number))


@define
class _Filling:
    """A page being made; ``number`` is of the last change that it covers."""

    number: int
    _bytes: int
    lines: list[Line] = field(factory=list)
    is_whole: bool = False
    _size: int = 0
    _looked: int = 0

    def take(self, change: RowChange, wanted: RowFilter) -> bool:
        """Whether there was room for it; what ``wanted`` does not take needs little."""
        self._looked += 1
        if self._looked > MAX_LOOKED:
            return False
        if wanted.takes(change.row):
            line = _line(change)
            self._size += len(dump(line)) + 1
            if self.lines and self._size > self._bytes:
                return False
            self.lines.append(line)
        self.number, self.is_whole = change.number, False
        return True

    def whole(self) -> None:
        """The table is as it was at some revision, here."""
        self.is_whole = True
        if self.lines:
            self.lines[-1].pop("more", None)

    def ended(self, position: Position) -> Page:
        return Page(position, tuple(self.lines), self.is_whole)


def _line(change: RowChange) -> Line:
    """A line that belongs with the next one, until it is said that it does not."""
    kind = "delete" if change.freed else "put"
    return {"type": kind, "revision": change.number, "row": document(change.row), "more": True}


def document(row: Registration) -> dict[str, Any]:
    """A row as readers get it."""
    return {
        "id": row.id,
        "namespace": row.namespace,
        "app": row.app,
        "release": row.release,
        "role": row.role,
        "version": row.version,
        "host": row.host,
        "port": row.port,
        "drone": row.drone,
        "meta": row.meta,
        "owner": row.owner,
        "revision": row.revision,
    }
