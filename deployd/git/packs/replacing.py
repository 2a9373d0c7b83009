"""One pack takes the place of others: first it is durable, then they go. No kill between the two loses anything."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from deployd.git.disk import sync_directory
from deployd.git.packs.chart import DIRECTORY, SUFFIX, TEMPORARY, chart_path, open_chart, save_chart
from deployd.git.packs.copying import copy_to_pack
from deployd.git.packs.entries import TRAILER
from deployd.git.packs.index import IndexRows, entry_checks, write_index
from deployd.git.packs.mapping import map_file, map_path
from deployd.git.packs.merging import merge_charts
from deployd.git.packs.objects import Objects
from deployd.git.packs.rows import PackRows
from deployd.git.problems import BadPack

UNFINISHED = "tmp_deployd_"
_STALE = 3600.0


def write_pack(objects: Objects, sources: Sequence[PackRows], places: Collection[int]) -> Path:
    """Make one pack of what is at ``places``, all in ``sources``; it is durable, and a part of the repository.

    Return its path, which may be that of one that was there. Raise BadPack when a source is damaged, and OSError when
    the disk has too little room.
    """
    directory = objects.repository / "objects/pack"
    if shutil.disk_usage(directory).free < 2 * sum(len(pack.content) for pack in sources):
        raise OSError(errno.ENOSPC, "the disk has too little room for it")
    for pack in sources:
        check_pack(pack)
    with _unfinished(directory) as pack_file, _unfinished(directory) as index_file:
        copied = copy_to_pack(objects, places, pack_file)
        pack_file.flush()
        path = directory / f"pack-{copied.trailer.hex()}.pack"
        if path.with_suffix(".idx").exists():
            return path
        chart = merge_charts(objects, copied.places, copied.offsets, copied.bases)
        with map_file(pack_file) as content:
            size = len(content)
            checks = entry_checks(content, copied.offsets)
        write_index(index_file, IndexRows(chart.ids, chart.offsets, checks, chart.order), copied.trailer)
        save_chart(chart_path(path), chart, size, copied.trailer)
        # Its age is that of what is in it, since deltas look for their bases in older packs first.
        _put(pack_file, path, max(map(age, sources)))
        sync_directory(directory)
        _put(index_file, path.with_suffix(".idx"), time.time_ns())
        sync_directory(directory)
    return path


def age(pack: PackRows) -> int:
    """When the newest that is in a pack came, in nanoseconds since 1970."""
    return pack.path.stat().st_mtime_ns if pack.path else time.time_ns()


def check_pack(pack: PackRows) -> None:
    """Raise BadPack when a pack is not what was written once."""
    with memoryview(pack.content) as view:
        if pack.path and hashlib.sha1(view[:-TRAILER]).digest() != view[-TRAILER:]:
            raise BadPack(f"{pack.path.name} is damaged")


def is_kept(pack: PackRows) -> bool:
    """Whether a person has told git to leave it as it is, or not to expect all of it."""
    return pack.path is not None and any(pack.path.with_suffix(mark).exists() for mark in (".keep", ".promisor"))


def delete_packs(repository: Path, packs: Iterable[PackRows]) -> None:
    """Delete what another pack has, each pack's index first: a pack without one is not seen.

    The caller holds the lock of the refs, as does whoever moves a pack in.
    """
    directory = repository / "objects/pack"
    # It would name packs that are gone, and git needs none.
    for path in directory.glob("multi-pack-index*"):
        path.unlink()
    for pack in packs:
        if pack.path is None:
            _delete_loose(repository / "objects", pack)
        else:
            _delete_pack(pack.path)
    sync_directory(directory)


def clear_unfinished(repository: Path) -> None:
    """Clear what a kill has left, under the lock of the refs; only what is old, where somebody may be writing it."""
    directory, charts = repository / "objects/pack", repository / DIRECTORY
    for path in directory.glob(UNFINISHED + "*"):
        path.unlink(missing_ok=True)
    index_again(repository)
    for chart in charts.glob("*" + SUFFIX):
        if not (directory / f"{chart.stem}.pack").exists():
            chart.unlink(missing_ok=True)
    for chart in charts.glob(TEMPORARY + "*"):
        if _is_stale(chart):
            chart.unlink(missing_ok=True)


def index_again(repository: Path) -> None:
    """Give an index to each pack that has a chart and none, under the lock of the refs or before anybody is there.

    A kill leaves such a pack: it is whole, and what is needless in it goes later as from any other. One whose index was
    lost otherwise may be all there is of something, so none is deleted; and a person's git may be about to index it.
    """
    for path in (repository / "objects/pack").glob("*.pack"):
        if not path.with_suffix(".idx").exists():
            with suppress(FileNotFoundError, ValueError):
                _index(path)


def _index(path: Path) -> None:
    with map_path(path) as content:
        trailer = content[-TRAILER:]
        chart = open_chart(chart_path(path), len(content), trailer)
        if chart is None:
            return
        checks = entry_checks(content, chart.offsets)
    with _unfinished(path.parent) as file:
        write_index(file, IndexRows(chart.ids, chart.offsets, checks, chart.order), trailer)
        _put(file, path.with_suffix(".idx"), time.time_ns())


@contextmanager
def _unfinished(directory: Path) -> Iterator[BinaryIO]:
    """A file that goes again unless it gets another name."""
    descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=directory)
    os.close(descriptor)
    path = Path(name)
    try:
        with path.open("r+b") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def _put(file: BinaryIO, path: Path, time_ns: int) -> None:
    file.flush()
    os.fchmod(file.fileno(), 0o444)
    os.utime(file.fileno(), ns=(time_ns, time_ns))
    os.fsync(file.fileno())
    Path(file.name).rename(path)


def _delete_pack(path: Path) -> None:
    path.with_suffix(".idx").unlink(missing_ok=True)
    for file in path.parent.glob(f"{path.stem}.*"):
        file.unlink(missing_ok=True)
    chart_path(path).unlink(missing_ok=True)


def _delete_loose(objects: Path, pack: PackRows) -> None:
    for row in range(len(pack)):
        name = pack.id(row).hex()
        (objects / name[:2] / name[2:]).unlink(missing_ok=True)
        with suppress(OSError):
            (objects / name[:2]).rmdir()


def _is_stale(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - _STALE
    except FileNotFoundError:
        return False
