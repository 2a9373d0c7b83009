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

from deployd.processes.records import AROUND, MAX_DATA, Record, first_stamp, segment_name, unpack, unpack_backwards

FIRST_CHUNK = 1024
CHUNK = 64 * 1024
"""What is read at once: little of those who have printed little, as there may be hundreds. A record fits the second."""
SETTLED = 50_000_000
"""Nanoseconds after which a directory's time tells of a change: it moves with the kernel's ticks."""

assert CHUNK > AROUND + MAX_DATA


class Listing:
    """The names in a directory, read again only when they may be others; ``reads`` counts that."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.reads = 0
        self._names: list[str] = []
        self._changed = 0
        self._settled = False

    def names(self) -> list[str]:
        """In order; none where there is no such directory."""
        try:
            changed = os.stat(self.path).st_mtime_ns  # noqa: PTH116 - a Path costs more than the look
            if changed != self._changed or not self._settled:
                self._settled = time.time_ns() - changed > SETTLED
                self._names = sorted(os.listdir(self.path))  # noqa: PTH208 - names, not paths
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
    """The records of one instance, the last one first; they are read as they are asked for."""
    for stamp in reversed(segments(Listing(directory))):
        try:
            with FileIO(f"{directory}/{segment_name(stamp)}") as file:
                for record, _ in _from_the_end(file):
                    yield record
        except FileNotFoundError:
            continue


def _from_the_end(file: FileIO) -> Iterator[tuple[Record, int]]:
    """The records in a segment, the last one first, and where each ends."""
    end = file.seek(0, os.SEEK_END)
    size = FIRST_CHUNK
    while end > 0:
        file.seek(max(0, end - size))
        before = end
        for record in unpack_backwards(file.read(end - file.tell())):
            yield record, end
            end -= AROUND + len(record.data)
        if end == before and (size == CHUNK or size >= end):
            # It is torn here, as happens at the end.
            yield from _from_the_start(file, end)
            return
        size = min(4 * size, CHUNK)


def _from_the_start(file: FileIO, end: int) -> Iterator[tuple[Record, int]]:
    file.seek(0)
    records, length = unpack(file.read(end))
    for record in reversed(records):
        yield record, length
        length -= AROUND + len(record.data)


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
        self._chunk = FIRST_CHUNK
        self.head: int | None = None
        self._segment: int | None = None
        self._stamps = segments(self._listing)
        self._reads = self._listing.reads
        if self._stamps:
            place = bisect_right(self._stamps, after) - 1
            self._begin(self._stamps[max(0, place)])
            if place >= 0:
                self._seek()

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
        self._chunk = FIRST_CHUNK

    def _begin(self, segment: int) -> None:
        self._segment, self._offset = segment, 0
        self._path = f"{self._listing.path}/{segment_name(segment)}"

    def _seek(self) -> None:
        """Pass over what is not above ``after``: most often all but little of it."""
        try:
            with FileIO(self._path) as file:
                self._offset = next((end for record, end in _from_the_end(file) if record.stamp <= self._after), 0)
        except FileNotFoundError:
            return

    def _read(self) -> None:
        """Read ahead until there is a ``head``, or nothing more."""
        while self._segment is None or not self._read_here():
            following = self._following()
            # What was added to this segment before the next one was begun.
            if following is None or (self._segment is not None and self._read_here()):
                return
            self._begin(following)

    def _read_here(self) -> bool:
        """Whether this segment has more, which is read ahead."""
        try:
            while os.stat(self._path).st_size > self._offset:  # noqa: PTH116
                with FileIO(self._path) as file:
                    file.seek(self._offset)
                    records, length = unpack(file.read(self._chunk))
                if not records and self._chunk == CHUNK:
                    return False
                self._chunk = min(4 * self._chunk, CHUNK)
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
            offset += AROUND + len(record.data)
            if record.stamp > self._after:
                self._ahead.append((record, offset))
        self.head = self._ahead[0][0].stamp if self._ahead else None

    def _following(self) -> int | None:
        """The next segment, if there is one; nothing is added to this one any more then."""
        self._listing.names()
        if self._listing.reads != self._reads:
            self._stamps, self._reads = segments(self._listing), self._listing.reads
        place = bisect_right(self._stamps, self._segment) if self._segment is not None else 0
        return self._stamps[place] if place < len(self._stamps) else None
