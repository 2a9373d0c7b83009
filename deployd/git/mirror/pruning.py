"""What no kept commit needs any more goes.

Packs of which nothing is needed go at once, others when most of what is there is not needed, once what is was copied
into one new pack.

At no moment is a needed object without a pack: the new pack is durable before the old ones go, and an index goes before
its pack, since what has no index is nothing and is cleaned up after a kill.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO

from attrs import define, field

from deployd.git.disk import sync_directory
from deployd.git.kinds import DELTAS
from deployd.git.mirror.closure import closure
from deployd.git.mirror.reading import MirrorReader, Place, sound
from deployd.git.packs.entries import TRAILER
from deployd.git.packs.index import IndexRows, entry_checks, write_index
from deployd.git.packs.indexed import IndexedPack
from deployd.git.packs.mapping import map_file
from deployd.git.packs.writing import PackWriter, delta_header
from deployd.git.receiving.quarantine import PREFIX

MAX_PACKS = 20
SMALL = 1 << 20
"""So many bytes that nobody needs are not worth copying others for."""


def prune(mirror: Path, commits: Collection[str]) -> None:
    """Free what ``commits``, the only ones that are kept, do not need. The caller holds the mirror's lock.

    Raise Damaged, or KeyError when one of ``commits`` is not whole.
    """
    objects = mirror / "objects"
    if not commits:
        _delete(objects, (path.with_suffix(".pack") for path in (objects / "pack").glob("*.idx")))
        return
    with MirrorReader(objects) as reader:
        needed = closure(reader, commits)
        extents = {pack: _extents(pack) for pack in reader.packs}
        used = dict.fromkeys(reader.packs, 0)
        for pack, offset in needed.values():
            used[pack] += extents[pack][offset] - offset
        useless = [pack for pack, size in used.items() if not size]
        spent = sum(len(pack.content) for pack, size in used.items() if size)
        if len(reader.packs) - len(useless) > MAX_PACKS or spent > 2 * sum(used.values()) + SMALL:
            made = _Copy(reader, needed, extents).write(objects)
            useless = [pack for pack in reader.packs if pack.path != made]
    _delete(objects, (pack.path for pack in useless))


def _extents(pack: IndexedPack) -> dict[int, int]:
    """Where each entry of a pack begins and ends."""
    with sound():
        offsets = [offset for offset, _ in pack.entries()]
    return dict(zip(offsets, [*offsets[1:], pack.end], strict=True))


def _delete(objects: Path, packs: Iterable[Path]) -> None:
    for path in packs:
        path.with_suffix(".idx").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    sync_directory(objects / "pack")


@define
class _Copy:
    """One pack of ``needed`` (id -> place): deflated as they are, also deltas, if their base has been copied before."""

    reader: MirrorReader
    needed: dict[bytes, Place]
    extents: dict[IndexedPack, dict[int, int]]
    _starts: dict[bytes, int] = field(init=False, factory=dict)
    """Where each object begins in the new pack, in that order."""

    def write(self, objects: Path) -> Path:
        """Make it durable among the packs; return its path."""
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=objects))
        try:
            with (directory / "pack").open("w+b") as file:
                trailer = self._fill(file)
                file.flush()
                os.fsync(file.fileno())
                rows = self._rows(file)
            with (directory / "idx").open("wb") as index:
                write_index(index, rows, trailer)
                index.flush()
                os.fsync(index.fileno())
            path = objects / "pack" / f"pack-{trailer.hex()}.pack"
            for name in ("pack", "idx"):
                (directory / name).chmod(0o444)
                (directory / name).rename(path.with_suffix(f".{name}"))
            sync_directory(path.parent)
            return path
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _fill(self, file: BinaryIO) -> bytes:
        order = {pack: number for number, pack in enumerate(self.reader.packs)}
        writer = PackWriter(file, lambda _: None)
        writer.begin(len(self.needed))
        ids = {pack: {place[1]: id for id, place in self.needed.items() if place[0] is pack} for pack in order}
        # As they lie in their packs, so that bases come before their deltas.
        for id, (pack, offset) in sorted(self.needed.items(), key=lambda item: (order[item[1][0]], item[1][1])):
            start = writer.position
            with sound():
                header = pack.header(offset)
                base = pack.base(offset, header) if header.kind in DELTAS else 0
            if not base:
                writer.copy(pack.content, offset, self.extents[pack][offset])
            elif (base_id := ids[pack].get(base)) in self._starts:
                beginning, position = delta_header(pack.content, offset, start - self._starts[base_id])
                writer.put(beginning)
                writer.copy(pack.content, position, self.extents[pack][offset])
            else:
                writer.whole(*self.reader.read((pack, offset)))
            self._starts[id] = start
        return writer.end()

    def _rows(self, file: BinaryIO) -> IndexRows:
        offsets = list(self._starts.values())
        with map_file(file) as content:
            checks = entry_checks(content, [*offsets, len(content) - TRAILER])
        return IndexRows.of(list(self._starts), offsets, checks)
