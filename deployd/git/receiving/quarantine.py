"""A pack that came from outside, kept apart until everything about it is known to be right.

The directory lies in the repository's ``objects`` under git's own name for such things, so that git's tools clear it
too. Nothing in it can be found through the repository; leaving the ``with`` block removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from attrs import define, field
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import ObjectID, RawObjectID
from dulwich.pack import extend_pack

from deployd.git.disk import at_once, sync_directory
from deployd.git.kinds import COMMIT, TREE
from deployd.git.limits import GitLimits
from deployd.git.packs.chart import chart_path, save_chart
from deployd.git.packs.drawing import Rows, draw_chart
from deployd.git.packs.entries import TRAILER
from deployd.git.packs.index import IndexRows, entry_checks, write_index
from deployd.git.packs.mapping import map_file
from deployd.git.packs.resolving import Resolver
from deployd.git.packs.scanning import PackScan, entry_count, scan
from deployd.git.problems import BadPack
from deployd.git.receiving.census import Census
from deployd.git.receiving.here import Here
from deployd.git.receiving.progress import Progress

PREFIX = "tmp_objdir-incoming-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_LARGE = 4 << 20


@define
class Quarantine:
    """One incoming pack beside the packs of ``here``; with ``charted`` a chart is made, and moves in with it."""

    objects: Path
    here: Here
    limits: GitLimits
    charted: bool = True
    progress: Progress = field(factory=Progress)
    census: Census = field(init=False, factory=Census)
    _directory: Path = field(init=False)
    _lock: int = field(init=False)
    _name: str = field(init=False, default="")
    _rows: dict[bytes, int] = field(init=False, factory=dict)
    _kinds: bytearray = field(init=False, factory=bytearray)

    def __enter__(self) -> Quarantine:
        sweep(self.objects)
        while True:
            self._directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.objects))
            with suppress(FileNotFoundError):
                self._lock = os.open(self._directory, _DIRECTORY)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                # Somebody may have taken it for a leftover before it was locked.
                if self._directory.exists():
                    return self
                os.close(self._lock)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        os.close(self._lock)

    def take(self, stream: BinaryIO) -> None:
        """Copy the rest of ``stream``, check each object, index it, make it durable. Raise BadPack or BadObject."""
        path = self._directory / "incoming.pack"
        with path.open("w+b") as file:
            self._copy(stream, file)
            found = self._examine(file)
            if len(found):
                self._keep(file, found)
                path.rename(self._directory / (self._name + ".pack"))

    def kind(self, object_id: bytes) -> int | None:
        """The kind of an object that is in quarantine or in the repository; None: neither."""
        row = self._rows.get(object_id)
        return self.here.kind(object_id) if row is None else self._kinds[row]

    def holds(self, object_id: bytes) -> bool:
        """Whether the pack has this object."""
        return object_id in self._rows

    def check(self) -> None:
        """Raise BadObject unless everything that the new objects need is in quarantine or in the repository."""
        self.census.check(self.kind)

    def release(self) -> None:
        """Move the pack into the repository, durably; the index last, because it makes the pack visible."""
        if not self._name:
            return
        target = self.objects / "pack"
        if (target / (self._name + ".idx")).exists():
            return
        pack, index, chart = (self._directory / (self._name + suffix) for suffix in (".pack", ".idx", ".chart"))
        for path in (pack, index):
            path.chmod(0o444)
        if chart.exists():
            place = chart_path(target / pack.name)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            chart.rename(place)
        pack.rename(target / pack.name)
        index.rename(target / index.name)
        sync_directory(target)

    def _copy(self, stream: BinaryIO, file: BinaryIO) -> None:
        size = 0
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > self.limits.pack_bytes:
                raise BadPack(f"the pack has more than {self.limits.pack_bytes} bytes")
            file.write(piece)
        file.flush()
        if not size:
            raise BadPack("the pack is missing")

    def _examine(self, file: BinaryIO) -> PackScan:
        with map_file(file) as buffer:
            count = entry_count(buffer, self.limits)
            found = scan(buffer, self.limits, self.census.add, self.progress.of("Checking objects", count))
            deltas = sum(base >= 0 for base in found.bases) + len(found.named)
            step = self.progress.of("Resolving deltas", deltas)
            resolver = Resolver(buffer, found, self.limits, self.census.add, self.here.read, step)
            resolver.run()
        self._complete(file, found, resolver.outside)
        return found

    def _complete(self, file: BinaryIO, found: PackScan, outside: dict[bytes, list[int]]) -> None:
        """Append the bases that a thin pack left out, since a pack must stand alone."""
        ends = found.end
        if outside:
            extra = self._append(file, set(outside))
            ends = file.seek(0, os.SEEK_END) - TRAILER
            for name, offset in extra:
                kind, content = self.here.read(name)
                for row in outside[name]:
                    found.bases[row] = len(found.ids)
                found.ids.append(name)
                found.offsets.append(offset)
                found.kinds.append(kind)
                found.bases.append(-1)
                self.census.add(kind, name, content)
        found.offsets.append(ends)

    def _append(self, file: BinaryIO, names: set[bytes]) -> list[tuple[bytes, int]]:
        def get_raw(object_id: RawObjectID | ObjectID) -> tuple[int, bytes]:
            return self.here.read(object_id)

        _, extra = extend_pack(file, {RawObjectID(name) for name in names}, get_raw, DEFAULT_OBJECT_FORMAT)
        return sorted(((bytes(name), offset) for name, offset, _ in extra), key=lambda entry: entry[1])

    def _keep(self, file: BinaryIO, found: PackScan) -> None:
        """Write the index, and the chart, and have the pack and its index on the disk."""
        self._rows, self._kinds = found.rows(), found.kinds
        file.flush()
        # A large pack is on its way to the disk while its chart is drawn; a small one goes there with its index.
        early = partial(os.fsync, file.fileno()) if found.end > _LARGE else lambda: None
        index = self._directory / "incoming.idx"
        with index.open("wb") as index_file:
            at_once(early, partial(self._describe, file, found, index_file))
            at_once(partial(os.fsync, file.fileno()), partial(os.fsync, index_file.fileno()))
        index.rename(self._directory / (self._name + ".idx"))

    def _describe(self, file: BinaryIO, found: PackScan, index: BinaryIO) -> None:
        chart = draw_chart(self.census.survey, Rows(found.ids, found.offsets, found.kinds, found.bases), self._look)
        with map_file(file) as buffer:
            size, checksum, checks = len(buffer), buffer[-TRAILER:], entry_checks(buffer, found.offsets)
        self._name = "pack-" + checksum.hex()
        write_index(index, IndexRows(chart.ids, chart.offsets, checks, chart.order), checksum)
        index.flush()
        if self.charted:
            save_chart(self._directory / (self._name + ".chart"), chart, size, checksum)

    def _look(self, object_id: bytes) -> tuple[int, bytes] | None:
        return self.here.read(object_id) if self.here.kind(object_id) in (COMMIT, TREE) else None


def sweep(objects: Path) -> None:
    """Remove the quarantines of processes that were killed: those that nobody has locked."""
    for leftover in objects.glob(PREFIX + "*"):
        with suppress(OSError):
            lock = os.open(leftover, _DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)
