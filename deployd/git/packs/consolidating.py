"""Many small packs become few, by copying what is in them; a thousand pushes would leave a thousand packs otherwise.

Packs are merged so that each one left costs at least twice as much to copy as the next smaller one. So there are about
as many as the logarithm of the pushes, an object is copied about as often, and a huge pack is not written again for
little.

Whoever has an old pack open reads on. A kill leaves a file that a later run removes, or objects twice, which harms
nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from attrs import frozen

from deployd.git.disk import locked
from deployd.git.limits import GitLimits
from deployd.git.packs.dropping import drop_unreachable
from deployd.git.packs.objects import Objects
from deployd.git.packs.replacing import check_pack, clear_unfinished, delete_packs, is_kept, write_pack
from deployd.git.packs.rows import PackRows
from deployd.git.refs import LOCK

RUNNING = "deployd-consolidating"
"""The lock of a run. That of the refs is held only while files are deleted."""
_ENTRY = 1000
"""An entry costs about as much as this many bytes, for its lines in index and chart."""


@frozen
class Consolidated:
    """How many packs there were and are, and the bytes of the one that was written."""

    before: int
    after: int
    written: int


def consolidate(objects: Objects, limits: GitLimits) -> Consolidated:
    """Merge those packs of a repository for which it is time, and drop what nothing has reached for long.

    Nothing waits for it but another run, which gets Busy. Raise BadPack when a pack is damaged, which then stays as it
    is, and OSError when the disk has no room.
    """
    repository = objects.repository
    with locked(repository / RUNNING, patience=0):
        with locked(repository / LOCK):
            clear_unfinished(repository)
        objects.refresh()
        before = len(objects.packs)
        _delete(repository, _needless(objects.packs))
        objects.refresh()
        drop_unreachable(objects, limits)
        objects.refresh()
        chosen = _chosen(objects.packs, limits)
        if not chosen:
            return Consolidated(before, len(objects.packs), 0)
        places = [place for pack in chosen for place in range(pack.first, pack.first + len(pack))]
        path = write_pack(objects, chosen, places)
        _delete(repository, [pack for pack in chosen if pack.path != path])
        objects.refresh()
        return Consolidated(before, len(objects.packs), path.stat().st_size)


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
        if not is_kept(pack):
            holder = next((other for other in ordered[number + 1 :] if _has_all(other, pack)), None)
            if holder is not None:
                check_pack(holder)
                found.append(pack)
    return found


def _has_all(pack: PackRows, other: PackRows) -> bool:
    return all(pack.row(other.id(row)) is not None for row in range(len(other)))


def _chosen(packs: Iterable[PackRows], limits: GitLimits) -> list[PackRows]:
    free = sorted((pack for pack in packs if not is_kept(pack)), key=_cost)
    count = to_merge([_cost(pack) for pack in free], limits.consolidated_bytes)
    return free[:count] + [pack for pack in free[count:] if pack.path is None]


def _cost(pack: PackRows) -> int:
    return len(pack.content) + _ENTRY * len(pack)


def _delete(repository: Path, packs: Sequence[PackRows]) -> None:
    if packs:
        with locked(repository / LOCK):
            delete_packs(repository, packs)
