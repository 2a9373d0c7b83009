"""What one instance has printed: records in segment files, which the keeper writes and deletes meanwhile.

Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from deployd.processes.records import MAX_DATA, Record, first_stamp, pack, segment_name, unpack

HEAD = len(pack(Record(0, 0, b"")))
CHUNK = 16 * 1024
WHOLE = 2 * MAX_DATA
"""Bytes that have a whole record in them, if there is one."""
SETTLED = 50_000_000
"""Nanoseconds after which a directory's time tells of a change: it moves with the kernel's ticks."""


class Listing:
    """The names in a directory, read again only when they may be others; ``reads`` counts that."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.reads = 0
        self._place = Path(path)
        self._names: list[str] = []
        self._changed = 0
        self._settled = False

    def names(self) -> list[str]:
        """In order; none where there is no such directory."""
        try:
            changed = self._place.stat().st_mtime_ns
            if changed != self._changed or not self._settled:
                self._settled = time.time_ns() - changed > SETTLED
                self._names = sorted(os.listdir(self.path))  # noqa: PTH208 - names, not paths, and often
                self._changed = changed
                self.reads += 1
        except OSError:
            self._names, self._settled = [], False
            self.reads += 1
        return self._names


def segments(listing: Listing) -> list[int]:
    """The stamps with which the segments in a directory begin, oldest first."""
    return [stamp for stamp in map(first_stamp, listing.names()) if stamp is not None]


def backwards(directory: str) -> Iterator[Record]:
    """The records of one instance, the last one first; a segment is read when it is asked for."""
    for stamp in reversed(segments(Listing(directory))):
        try:
            with FileIO(f"{directory}/{segment_name(stamp)}") as file:
                records, _ = unpack(file.readall())
        except FileNotFoundError:
            continue
        yield from reversed(records)


def last_written(directory: str) -> float:
    """When something was printed last (seconds since 1970); 0 if nothing is there."""
    stamps = segments(Listing(directory))
    try:
        return Path(directory, segment_name(stamps[-1])).stat().st_mtime if stamps else 0.0
    except OSError:
        return 0.0


class Cursor:
    """A place in what one instance prints: what has a stamp above ``after``, and was not taken yet.

    ``head`` is the stamp of the next record, None while there is none. Between two readings a cursor holds no file and
    no data, so that there can be many; looking at one with nothing new costs two stats.
    """

    def __init__(self, directory: str, after: int) -> None:
        self._listing = Listing(directory)
        self._after = after
        self._ahead: deque[tuple[Record, int]] = deque()
        self._offset = 0
        self.head: int | None = None
        stamps = segments(self._listing)
        before = bisect_right(stamps, after)
        self._segment = stamps[max(0, before - 1)] if stamps else None

    @property
    def horizon(self) -> int:
        """The greatest stamp that has been seen."""
        return self._ahead[-1][0].stamp if self._ahead else self.head or 0

    def look(self) -> int | None:
        """``head``, if need be from what was printed since the last look."""
        if self.head is None:
            self._read()
        return self.head

    def take(self) -> Record | None:
        """The next record; None if it was deleted meanwhile (``head`` is another one's then)."""
        if not self._ahead:
            expected = self.head
            self.head = None
            self._read()
            if self.head != expected:
                return None
        record, self._offset = self._ahead.popleft()
        self._after = record.stamp
        self.head = self._ahead[0][0].stamp if self._ahead else None
        return record

    def rest(self) -> None:
        """Hold nothing until the next look."""
        self._ahead.clear()

    def _read(self) -> None:
        """Read ahead until there is a ``head``, or nothing more."""
        while self._segment is None or not self._read_here():
            following = self._following()
            # What was added to this segment before the next one was begun.
            if following is None or (self._segment is not None and self._read_here()):
                return
            self._segment, self._offset = following, 0

    def _read_here(self) -> bool:
        """Whether this segment has more, which is read ahead."""
        assert self._segment is not None
        path = Path(self._listing.path, segment_name(self._segment))
        size = CHUNK
        try:
            while path.stat().st_size > self._offset:
                with FileIO(path) as file:
                    file.seek(self._offset)
                    packed = file.read(size)
                records, length = unpack(packed)
                if not records and size == WHOLE:
                    return False
                size = CHUNK if records else WHOLE
                self._add(records)
                if self._ahead:
                    return True
                self._offset += length
        except FileNotFoundError:
            # The oldest go first, and it may have been on its way there for long.
            return False
        return False

    def _add(self, records: list[Record]) -> None:
        offset = self._offset
        for record in records:
            offset += HEAD + len(record.data)
            if record.stamp > self._after:
                self._ahead.append((record, offset))
        self.head = self._ahead[0][0].stamp if self._ahead else None

    def _following(self) -> int | None:
        """The next segment, if there is one; nothing is added to this one any more then."""
        stamps = segments(self._listing)
        place = bisect_right(stamps, self._segment) if self._segment is not None else 0
        return stamps[place] if place < len(stamps) else None
