"""A pack that came from outside, kept apart until everything about it is known to be right.

The directory lies in the repository's ``objects`` under git's own name for such things, so that git's tools clear it
too. Nothing in it can be found through the repository; leaving the ``with`` block removes it.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Set
from pathlib import Path
from typing import BinaryIO

from attrs import define, field
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import ObjectID, RawObjectID
from dulwich.pack import extend_pack, write_pack_index_v2

from deployd.git.disk import sync_directory
from deployd.git.limits import GitLimits
from deployd.git.packs.resolving import Resolver
from deployd.git.packs.scanning import PackScan, scan
from deployd.git.packs.store import Packs
from deployd.git.problems import BadPack
from deployd.git.receiving.census import Census

PREFIX = "tmp_objdir-incoming-"
_PIECE = 1 << 20


@define
class Quarantine:
    """One incoming pack beside the packs of ``here``."""

    objects: Path
    here: Packs
    limits: GitLimits
    census: Census = field(init=False, factory=Census)
    kinds: dict[bytes, int] = field(init=False, factory=dict)
    _directory: Path = field(init=False)
    _name: str = field(init=False, default="")
    _thin: set[bytes] = field(init=False, factory=set)

    def __enter__(self) -> Quarantine:
        self._directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.objects))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def take(self, stream: BinaryIO) -> None:
        """Copy the rest of ``stream``, check it, index it, make it durable. Raise BadPack or BadObject."""
        path = self._directory / "incoming.pack"
        with path.open("w+b") as file:
            self._copy(stream, file)
            found = self._examine(file)
            if not len(found):
                return
            extra, checksum = self._complete(file, found)
            file.flush()
            os.fsync(file.fileno())
        self.kinds = dict(zip(found.ids, found.kinds, strict=True))
        entries = [(found.ids[row], found.offsets[row], found.checks[row]) for row in range(len(found))]
        entries = sorted(entries + extra)
        self._name = "pack-" + checksum.hex()
        with (self._directory / (self._name + ".idx")).open("wb") as index:
            write_pack_index_v2(index, entries, checksum)
            index.flush()
            os.fsync(index.fileno())
        path.rename(self._directory / (self._name + ".pack"))

    def kind(self, object_id: bytes) -> int | None:
        """The kind of an object that is in quarantine or in the repository; None: neither."""
        return self.kinds.get(object_id) or self.here.kind(object_id)

    def check(self) -> None:
        """Raise BadObject unless everything that the new objects need is in quarantine or in the repository."""
        self.census.check(self.kinds, self.here.kind)

    def check_alone(self, but: Set[bytes]) -> None:
        """Raise BadObject unless the pack has everything that its objects need, ``but`` those ids."""
        self.census.check(self.kinds, lambda object_id: self.census.wanted[object_id] if object_id in but else None)

    def release(self) -> None:
        """Move the pack into the repository, durably; the index last, because it makes the pack visible."""
        if not self._name:
            return
        target = self.objects / "pack"
        if (target / (self._name + ".idx")).exists():
            return
        for suffix in (".pack", ".idx"):
            path = self._directory / (self._name + suffix)
            path.chmod(0o444)
            path.rename(target / path.name)
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
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            found = scan(buffer, self.limits, self.census.add)
            resolver = Resolver(buffer, found, self.limits, self.census.add, self._base)
            resolver.run()
            self._thin = resolver.outside
        return found

    def _base(self, object_id: bytes) -> tuple[int, bytes]:
        found = self.here.kind_and_size(object_id)
        if found is None:
            raise KeyError(object_id)
        return self.here.read(object_id)

    def _complete(self, file: BinaryIO, found: PackScan) -> tuple[list[tuple[bytes, int, int]], bytes]:
        """Append the bases that a thin pack left out, since a pack must stand alone; return their entries too."""
        if not self._thin:
            file.seek(found.end)
            return [], file.read(20)

        def get_raw(object_id: RawObjectID | ObjectID) -> tuple[int, bytes]:
            return self.here.read(object_id)

        checksum, extra = extend_pack(file, {RawObjectID(base) for base in self._thin}, get_raw, DEFAULT_OBJECT_FORMAT)
        return [(bytes(name), offset, check) for name, offset, check in extra], checksum
