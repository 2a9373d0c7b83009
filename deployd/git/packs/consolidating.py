"""Many small packs become few, by copying what is in them; a thousand pushes would leave a thousand packs otherwise.

Packs are merged so that each one left costs at least twice as much to copy as the next smaller one. So there are about
as many as the logarithm of the pushes, an object is copied about as often, and a huge pack is not written again for
little. Nothing is lost: what no ref reaches goes along.

The new pack is durable before an old one goes. Whoever has an old one open reads on. A kill leaves a file that a later
run removes, or objects twice, which harms nobody.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from deployd.git.disk import locked, sync_directory
from deployd.git.limits import GitLimits
from deployd.git.packs.chart import DIRECTORY, SUFFIX, TEMPORARY, chart_path, save_chart
from deployd.git.packs.copying import copy_packs
from deployd.git.packs.index import entry_checks, write_index
from deployd.git.packs.merging import merge_charts
from deployd.git.packs.objects import Objects
from deployd.git.packs.rows import PackRows
from deployd.git.problems import BadPack
from deployd.git.refs import LOCK

RUNNING = "deployd-consolidating"
"""The lock of a run. That of the refs is held only while files are deleted."""
UNFINISHED = "tmp_deployd_"
_STALE = 3600.0
_ENTRY = 1000
"""An entry costs about as much as this many bytes, for its lines in index and chart."""
_TRAILER = 20


@frozen
class Consolidated:
    """How many packs there were and are, and how many bytes were written."""

    before: int
    after: int
    written: int


def consolidate(objects: Objects, limits: GitLimits) -> Consolidated:
    """Merge those packs of a repository for which it is time.

    Nothing waits for it but another run, which gets Busy. Raise BadPack when a pack is damaged, which then stays as it
    is, and OSError when the disk has no room.
    """
    with locked(objects.repository / RUNNING, patience=0):
        _clear(objects.repository)
        objects.refresh()
        before = len(objects.packs)
        _delete(objects.repository, _needless(objects.packs))
        objects.refresh()
        chosen = _chosen(objects.packs, limits)
        if not chosen:
            return Consolidated(before, len(objects.packs), 0)
        path = _write(objects, chosen)
        gone = [pack for pack in chosen if pack.path != path]
        came = all(pack.path != path for pack in objects.packs)
        _delete(objects.repository, gone)
        return Consolidated(before, len(objects.packs) - len(gone) + came, path.stat().st_size)


def to_merge(costs: Sequence[int], most: int) -> int:
    """How many of the cheapest packs should become one: ``costs`` ascend, and these together may cost ``most``.

    None (0) where each costs at least twice as much as the one before it.
    """
    count = len(costs)
    while count > 1 and costs[count - 1] >= 2 * costs[count - 2]:
        count -= 1
    sums = list(accumulate(costs))
    while 1 < count < len(costs) and costs[count] < 2 * sums[count - 1]:
        count += 1
    while count and sums[count - 1] > most:
        count -= 1
    return count if count > 1 else 0


def _needless(packs: Iterable[PackRows]) -> list[PackRows]:
    """Those of which a larger one has every object, as it is when a run was killed after its pack was there."""
    ordered = sorted((pack for pack in packs if pack.path), key=lambda pack: (len(pack), pack.number))
    found = []
    for number, pack in enumerate(ordered):
        if not _is_kept(pack):
            holder = next((other for other in ordered[number + 1 :] if _has_all(other, pack)), None)
            if holder is not None:
                _check(holder)
                found.append(pack)
    return found


def _has_all(pack: PackRows, other: PackRows) -> bool:
    return all(pack.row(other.id(row)) is not None for row in range(len(other)))


def _chosen(packs: Iterable[PackRows], limits: GitLimits) -> list[PackRows]:
    free = sorted((pack for pack in packs if not _is_kept(pack)), key=_cost)
    count = to_merge([_cost(pack) for pack in free], limits.consolidated_bytes)
    return free[:count] + [pack for pack in free[count:] if pack.path is None]


def _cost(pack: PackRows) -> int:
    return len(pack.content) + _ENTRY * len(pack)


def _is_kept(pack: PackRows) -> bool:
    """Whether a person has told git to leave it as it is, or not to expect all of it."""
    return pack.path is not None and any(pack.path.with_suffix(mark).exists() for mark in (".keep", ".promisor"))


def _write(objects: Objects, chosen: Sequence[PackRows]) -> Path:
    """Make one pack of all, durable and a part of the repository; return its path, which may be that of one of them."""
    directory = objects.repository / "objects/pack"
    _check_room(directory, chosen)
    for each in chosen:
        _check(each)
    with _unfinished(directory) as pack, _unfinished(directory) as index:
        merged = copy_packs(objects, chosen, pack)
        pack.flush()
        path = directory / f"pack-{merged.trailer.hex()}.pack"
        if path.with_suffix(".idx").exists():
            return path
        chart = merge_charts(objects, merged.places, merged.offsets, merged.bases)
        with mmap.mmap(pack.fileno(), 0, access=mmap.ACCESS_READ) as content:
            size = len(content)
            write_index(index, chart, entry_checks(content, merged.offsets), merged.trailer)
        # Its age is that of what is in it, since deltas look for their bases in older packs first.
        _put(pack, path, max(map(_time, chosen)))
        save_chart(chart_path(path), chart, size, merged.trailer)
        sync_directory(directory)
        _put(index, path.with_suffix(".idx"), time.time_ns())
        sync_directory(directory)
    return path


def _time(pack: PackRows) -> int:
    return pack.path.stat().st_mtime_ns if pack.path else time.time_ns()


def _check(pack: PackRows) -> None:
    """Raise BadPack when a pack is not what was written once."""
    with memoryview(pack.content) as view:
        if pack.path and hashlib.sha1(view[:-_TRAILER]).digest() != view[-_TRAILER:]:
            raise BadPack(f"{pack.path.name} is damaged")


def _check_room(directory: Path, chosen: Iterable[PackRows]) -> None:
    if shutil.disk_usage(directory).free < 2 * sum(len(pack.content) for pack in chosen):
        raise OSError(errno.ENOSPC, "the disk has too little room for it")


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


def _delete(repository: Path, packs: Sequence[PackRows]) -> None:
    """Delete what another pack has, each pack's index first: a pack without one is not seen."""
    directory = repository / "objects/pack"
    if not packs:
        return
    with locked(repository / LOCK):
        # It would name packs that are gone, and git needs none.
        for path in directory.glob("multi-pack-index*"):
            path.unlink()
        for pack in packs:
            if pack.path is None:
                _delete_loose(repository / "objects", pack)
            else:
                _delete_pack(pack.path)
        sync_directory(directory)


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


def _clear(repository: Path) -> None:
    """Remove what a killed run has left. A person's git may be at work beside this, so only what is old goes."""
    directory = repository / "objects/pack"
    for path in directory.glob(UNFINISHED + "*"):
        path.unlink(missing_ok=True)
    with locked(repository / LOCK):
        for pack in directory.glob("*.pack"):
            if not pack.with_suffix(".idx").exists() and _is_stale(pack):
                _delete_pack(pack)
        for chart in (repository / DIRECTORY).glob("*" + SUFFIX):
            if not (directory / f"{chart.stem}.pack").exists():
                chart.unlink(missing_ok=True)
        for chart in (repository / DIRECTORY).glob(TEMPORARY + "*"):
            if _is_stale(chart):
                chart.unlink(missing_ok=True)


def _is_stale(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - _STALE
    except FileNotFoundError:
        return False
