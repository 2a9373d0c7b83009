"""What many instances have printed, as one: in the order of the stamps, page by page."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from pathlib import Path
from typing import Any

from attrs import field, frozen

from deployd.drone.log_segments import Cursor, Listing, backwards, last_written
from deployd.processes.log_page import pack_from
from deployd.processes.records import Record

PAGE_BYTES = 44 * 1024
"""One more record may come above it: all of it fits one value of a message."""
PAGE_SOURCES = 150
LAG = 60.0
"""Seconds by which a file's time may differ from the stamps in it."""


@frozen
class Wanted:
    """Whose output; empty means any."""

    app: str
    releases: frozenset[str] = frozenset()
    role: str = ""


@frozen
class Source:
    """One instance that has printed something."""

    id: str
    app: str
    release: str
    commit: str

    @property
    def role(self) -> str:
        return self.id.rpartition("-")[0]

    def document(self) -> dict[str, str]:
        return {"id": self.id, "app": self.app, "release": self.release, "commit": self.commit, "role": self.role}


@frozen
class Page:
    """``data`` is records that name their sources by position; ``next`` is the stamp from which to go on."""

    data: bytes = field(repr=False)
    sources: tuple[Source, ...]
    next: int
    more: bool

    def answer(self) -> dict[str, Any]:
        """As wire.fleet.ReadLog has it."""
        sources = [source.document() for source in self.sources]
        return {"data": self.data, "sources": sources, "next": self.next, "more": self.more}


class Sources:
    """The instances that match, found below ``top``."""

    def __init__(self, top: Path, wanted: Wanted) -> None:
        self._wanted = wanted
        self._app = Listing(f"{top}/{app_directory(wanted.app)}")
        self._releases: dict[str, Listing] = {}
        self._found: dict[str, Source] = {}
        self._reads: list[int] = []

    def all(self) -> dict[str, Source]:
        """By directory; the same object as long as nothing has changed."""
        releases = [name for name in self._app.names() if self._matches(name)]
        self._releases = {name: self._releases.get(name) or Listing(f"{self._app.path}/{name}") for name in releases}
        ids = [(name, listing.names()) for name, listing in self._releases.items()]
        reads = [self._app.reads, *(listing.reads for listing in self._releases.values())]
        if reads != self._reads:
            self._reads = reads
            self._found = {
                f"{self._releases[name].path}/{id}": source
                for name, within in ids
                for id in within
                if (source := self._source(name, id)).role == self._wanted.role or not self._wanted.role
            }
        return self._found

    def _matches(self, name: str) -> bool:
        return not self._wanted.releases or name.partition("-")[0] in self._wanted.releases

    def _source(self, name: str, id: str) -> Source:
        release, _, commit = name.partition("-")
        return Source(id, self._wanted.app, release, commit)


class Reading:
    """A place in what all that match print: what has a stamp above ``after``.

    Note [Nothing is passed over]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    The keeper writes records in the order of their stamps, so what has a smaller stamp than a record that is seen can
    be seen too. But files are looked at one after the other: while the second is looked at, the first may get a record
    that is older than what the second is found to have. So records are told up to a horizon, a stamp that has been
    seen, only after every file in which nothing was found has been looked at once more.
    """

    def __init__(self, top: Path, wanted: Wanted, after: int) -> None:
        self.wanted = wanted
        self.after = after
        self._sources = Sources(top, wanted)
        self._found: dict[str, Source] = {}
        self._cursors: dict[str, tuple[Cursor, Source]] = {}

    def page(self) -> Page:
        """What comes next, as far as it fits; without data when there is nothing new."""
        self._find()
        sheet = _Sheet()
        try:
            while not sheet.full and (horizon := self._horizon()):
                self._tell(sheet, horizon)
        finally:
            for cursor, _ in self._cursors.values():
                cursor.rest()
        self.after = max(self.after, sheet.last)
        more = any(cursor.head is not None for cursor, _ in self._cursors.values())
        return Page(b"".join(sheet.records), tuple(sheet.sources), self.after, more)

    def _find(self) -> None:
        found = self._sources.all()
        if found is self._found:
            return
        self._found = found
        for directory in self._cursors.keys() - found.keys():
            del self._cursors[directory]
        for directory in found.keys() - self._cursors.keys():
            self._cursors[directory] = Cursor(directory, self.after), found[directory]

    def _horizon(self) -> int:
        """Up to where everything can be told; 0 when there is nothing."""
        cursors = [cursor for cursor, _ in self._cursors.values()]
        if all(cursor.head is None for cursor in cursors):
            for cursor in cursors:
                cursor.look()
        horizon = max((cursor.horizon for cursor in cursors if cursor.head is not None), default=0)
        if horizon:
            for cursor in cursors:
                cursor.look()
        return horizon

    def _tell(self, sheet: _Sheet, horizon: int) -> None:
        heads = [(cursor.head, place) for place, (cursor, _) in self._cursors.items() if cursor.head is not None]
        heapify(heads)
        while heads and not sheet.full:
            head, place = heads[0]
            if head > horizon:
                return
            cursor, source = self._cursors[place]
            record = cursor.take()
            if record is not None:
                sheet.add(source, record)
            following = cursor.look()
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (following, place))


class _Sheet:
    """A page that is being filled."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.sources: list[Source] = []
        self.last = 0
        self._positions: dict[str, int] = {}
        self._size = 0

    @property
    def full(self) -> bool:
        return self._size >= PAGE_BYTES or len(self.sources) == PAGE_SOURCES

    def add(self, source: Source, record: Record) -> None:
        position = self._positions.setdefault(source.id, len(self.sources))
        if position == len(self.sources):
            self.sources.append(source)
        self.records.append(pack_from(position, record))
        self._size += len(self.records[-1])
        self.last = record.stamp


def start(top: Path, wanted: Wanted, newest: int) -> int:
    """The stamp after which at least the ``newest`` lines of all that match are; of none: where all ends now."""
    ages = {directory: last_written(directory) for directory in Sources(top, wanted).all()}
    ends: list[int] = []
    enough = max(newest, 1)
    for directory in sorted(ages, key=ages.__getitem__, reverse=True):
        if len(ends) == enough and (ages[directory] + LAG) * 1e6 < ends[0]:
            break
        for record in backwards(directory):
            if len(ends) == enough and record.stamp <= ends[0]:
                break
            for _ in range(min(enough, max(1, record.data.count(b"\n")))):
                heappush(ends, record.stamp)
                if len(ends) > enough:
                    heappop(ends)
    return ends[0] - (newest > 0) if len(ends) == enough else 0


def app_directory(app: str) -> str:
    """``+`` is in no app's name."""
    return app.replace("/", "+")
