"""The table's last changes, and what comes next for somebody who is at a position."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from attrs import define, evolve, field

from deployd.model.registration import Registration, meta_bytes
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.registry.filter import RowFilter
from deployd.registry.position import Phase, Position
from deployd.registry.rows import Rows
from deployd.wire.documents import dump
from deployd.wire.paging import PAGE_BYTES
from deployd.wire.rows import document

MAX_CHANGES = 50_000
MAX_BYTES = 64 * 1024 * 1024
# So many are looked at for one page, whether its reader wants them or not.
MAX_LOOKED = 5_000
# What several ask for is made once; so many pages are kept until the next change.
MAX_PAGES = 64

# What a change costs in memory beside its metadata, and a line beside the texts in it, at most.
_CHANGE = 600
_LINE = 260

Line = dict[str, Any]


@define(slots=False)
class Page:
    """What follows a position: lines as docs/registry has them, and where to go on.

    ``whole``: with these lines the table is as it was at some revision; else lines that belong with them follow.
    ``is_news``: whoever follows has to know of it.
    """

    position: Position
    lines: tuple[Line, ...] = ()
    whole: bool = True
    is_news: bool = True

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
        max_bytes: int = MAX_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self.revision = revision
        self._rows = rows
        self._page_bytes = page_bytes
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        # Their numbers follow each other, and the last one's is the revision's.
        self._changes: list[RowChange] = []
        self._sizes = array("I")
        self._bytes = 0
        self._pages: dict[tuple[Position | None, RowFilter], Page] = {}
        self._take(changes)

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, changes: Iterable[RowChange]) -> None:
        """Take what was done to the rows."""
        self._take(changes)
        if self._changes:
            self.revision = Revision(self.revision.epoch, self._changes[-1].number)
        self._pages.clear()

    def after(self, position: Position | None, wanted: RowFilter) -> Page:
        """What comes after ``position``, as much as fits into a page; no lines at the end."""
        start = self._start(position)
        key = (start, wanted)
        page = self._pages.get(key)
        if page is None:
            page = self._reset(wanted) if start is None else self._page(start, wanted)
            if len(self._pages) >= MAX_PAGES:
                del self._pages[next(iter(self._pages))]
            self._pages[key] = page
        return page

    def _take(self, changes: Iterable[RowChange]) -> None:
        held, sizes = self._changes, self._sizes
        before = len(held)
        held.extend(changes)
        fresh = array("I", map(_change_bytes, held[before:]))
        sizes.extend(fresh)
        self._bytes += sum(fresh)
        # A tenth more than is promised, so that the list is not moved for each change.
        if len(held) > self._max_changes * 1.1 or self._bytes > self._max_bytes * 1.1:
            drop = max(0, len(held) - self._max_changes)
            self._bytes -= sum(sizes[:drop])
            while self._bytes > self._max_bytes:
                self._bytes -= sizes[drop]
                drop += 1
            del held[:drop]
            del sizes[:drop]

    def _reset(self, wanted: RowFilter) -> Page:
        """That all that is known is void, and the table's first rows."""
        end = self.revision
        page = self._page(Position(end.epoch, 0, Phase.SNAPSHOT, end.number), wanted)
        reset: Line = {"type": "reset", "revision": 0, "row": None, "epoch": end.epoch}
        if page.lines or not page.whole:
            reset["more"] = True
        return Page(page.position, (reset, *page.lines), page.whole)

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
        return self._snapshot(start, wanted) if start.phase is Phase.SNAPSHOT else self._going_on(start, wanted)

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
        page.is_whole = start.phase is Phase.LIVE and not self._is_inside(start.number)
        page.is_news = start.phase is not Phase.LIVE or not page.is_whole
        # By index: islice walks there from the beginning.
        for index in range(start.number - self._first, len(self._changes)):
            change = self._changes[index]
            if not page.take(change, wanted):
                break
            if not change.more and change.number >= start.until:
                page.whole()
        if page.number >= start.until and not self._is_inside(page.number):
            page.whole()
        if page.number < start.until:
            return page.ended(evolve(start, number=page.number))
        return page.ended(Position(start.epoch, page.number))

    def _is_inside(self, number: int) -> bool:
        """Whether changes that were made together are parted there."""
        index = number - self._first - 1
        return index >= 0 and self._changes[index].more


@define
class _Filling:
    """A page being made; ``number`` is of the last change that it covers."""

    number: int
    _bytes: int
    lines: list[Line] = field(factory=list)
    is_whole: bool = False
    is_news: bool = True
    _size: int = 0
    _looked: int = 0

    def take(self, change: RowChange, wanted: RowFilter) -> bool:
        """Whether there was room for it; what ``wanted`` does not take needs little."""
        self._looked += 1
        if self._looked > MAX_LOOKED:
            return False
        if wanted.takes(change.row):
            self._size += _line_bytes(change.row)
            if self.lines and self._size > self._bytes:
                return False
            self.lines.append(_line(change))
        self.number, self.is_whole = change.number, False
        return True

    def whole(self) -> None:
        """The table is as it was at some revision, here."""
        self.is_whole = True
        if self.lines:
            self.lines[-1].pop("more", None)

    def ended(self, position: Position) -> Page:
        return Page(position, tuple(self.lines), self.is_whole, self.is_news or bool(self.lines))


def _change_bytes(change: RowChange) -> int:
    return _CHANGE + meta_bytes(change.row)


def _line_bytes(row: Registration) -> int:
    """How long a line with this row is as JSON, at most: but for its metadata, all in it is plain ASCII."""
    return (
        _LINE
        + len(row.id)
        + len(row.namespace)
        + len(row.app)
        + len(row.release)
        + len(row.role)
        + len(row.version)
        + len(row.host)
        + len(row.drone)
        + len(row.owner)
        + meta_bytes(row)
    )


def _line(change: RowChange) -> Line:
    """A line that belongs with the next one, until it is said that it does not."""
    kind = "delete" if change.freed else "put"
    return {"type": kind, "revision": change.number, "row": document(change.row), "more": True}
