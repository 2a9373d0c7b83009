"""What has changed in the book, one row at a time, for as far back as is kept.

Note [Positions in the history]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A position is ``EPOCH.N``: N single changes of the epoch are behind it. To those who follow it is one opaque text; the
next one comes with each page. A position that the history does not reach back to, one of another epoch, and "" are
answered with a reset: whoever asks lists all rows and goes on from the position given. What changes during that listing
comes again in the pages after it, which does no harm: a change says what a row is now, not how it came about.
A page ends where a revision ends, unless one revision alone is larger than a page; then it holds a part of that one,
and the last part's page says that the revision is complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from attrs import define, frozen

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.registry.book import Change
from deployd.wire.documents import dump
from deployd.wire.paging import PAGE_BYTES

MAX_CHANGES = 50_000
MAX_BYTES = 64 * 1024 * 1024

# What a change costs beside its metadata, roughly.
_PLAIN = 600
# The longest number that a position has.
_DIGITS = 18


@frozen
class Page:
    """What follows a position (deployd.wire.lookup.Watch)."""

    reset: bool
    position: str
    revision: Revision
    changes: tuple[dict[str, Any], ...] = ()


@define
class _Entry:
    """One row that was put, or freed (``row`` is None then), by the change of this revision number."""

    number: int
    row_id: str
    row: Registration | None

    @property
    def size(self) -> int:
        meta = self.row.meta if self.row else {}
        return _PLAIN + sum(len(key) + len(value) for key, value in meta.items())

    def document(self) -> dict[str, Any]:
        return {"delete": self.row_id} if self.row is None else {"put": document(self.row)}


class History:
    """The last changes after ``revision``, bounded in number and bytes."""

    def __init__(
        self,
        revision: Revision,
        max_changes: int = MAX_CHANGES,
        max_bytes: int = MAX_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self.revision = revision
        self._page_bytes = page_bytes
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._entries: deque[_Entry] = deque()
        self._bytes = 0
        # How many changes of this epoch came before the first entry.
        self._first = 0
        # Most who follow are at the same place and ask for the same page.
        self._last: tuple[int, Page] | None = None

    @property
    def position(self) -> str:
        """Where the history ends now."""
        return self._named(self._end)

    def add(self, change: Change) -> bool:
        """Take what the book did; whether that was anything."""
        if change.revision == self.revision:
            return False
        self.revision, self._last = change.revision, None
        for entry in _entries(change):
            self._entries.append(entry)
            self._bytes += entry.size
        while len(self._entries) > self._max_changes or self._bytes > self._max_bytes:
            self._bytes -= self._entries.popleft().size
            self._first += 1
        return True

    def after(self, position: str) -> Page:
        """What comes after ``position``, as much as fits into a page; without changes if it is the end."""
        start = self._number(position)
        if start is None:
            return Page(True, self.position, self.revision)
        if self._last is None or self._last[0] != start:
            self._last = (start, self._page(start))
        return self._last[1]

    @property
    def _end(self) -> int:
        return self._first + len(self._entries)

    def _named(self, number: int) -> str:
        return f"{self.revision.epoch}.{number}"

    def _number(self, position: str) -> int | None:
        epoch, _, text = position.rpartition(".")
        if epoch != self.revision.epoch or not (text.isascii() and text.isdecimal()) or len(text) > _DIGITS:
            return None
        number = int(text)
        return number if self._first <= number <= self._end else None

    def _page(self, start: int) -> Page:
        changes: list[dict[str, Any]] = []
        size = 0
        # How many of ``changes`` are whole revisions, and the newest of them.
        whole, complete = 0, self.revision.number
        earlier: _Entry | None = None
        for entry in islice(self._entries, start - self._first, None):
            if earlier is None:
                complete = entry.number - 1
            elif entry.number != earlier.number:
                whole, complete = len(changes), earlier.number
            document = entry.document()
            size += len(dump(document)) + 1
            if changes and size > self._page_bytes:
                break
            changes.append(document)
            earlier = entry
        else:
            whole, complete = len(changes), self.revision.number
        changes = changes[: whole or None]
        return Page(False, self._named(start + len(changes)), Revision(self.revision.epoch, complete), tuple(changes))


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


def _entries(change: Change) -> Iterator[_Entry]:
    number = change.revision.number
    for row in change.freed:
        yield _Entry(number, row.id, None)
    for row in change.put:
        yield _Entry(number, row.id, row)
