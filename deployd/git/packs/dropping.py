"""What no ref has reached for long goes at last, whole commits at a time: of branches that were deleted or rewritten.

Packs are written again without it, and only when it is a good part of them and nothing has been added to them for
``unreachable_seconds``. What reaches what is found by reading every tree once more, independent of the charts.

Note [Dropping beside pushes]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A push may build upon an object that nothing reaches. The packs that have such objects are deleted under the lock of the
refs, unless a quarantine shows that a push is under way or a ref has come to point at something else. A push makes its
quarantine, then waits for that lock once, and only then looks at what is there; so either it is seen here, or it sees
what is left. Whoever else points a ref at a commit looks at it under the lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from deployd.git.disk import locked
from deployd.git.kinds import BLOB, TAG, TREE
from deployd.git.limits import GitLimits
from deployd.git.packs.links import commit_head, tag_target, tree_children
from deployd.git.packs.objects import Objects
from deployd.git.packs.reach import Reach
from deployd.git.packs.replacing import age, delete_packs, is_kept, write_pack
from deployd.git.packs.rows import PackRows
from deployd.git.refs import LOCK, read_refs

_QUARANTINES = "tmp_objdir-*"
"""In ``objects``; git's own have such names, too."""
_SHARE = 8
"""A pack is written again when one commit in so many is not reached."""


def drop_unreachable(objects: Objects, limits: GitLimits) -> None:
    """Write the packs for which it is time without what no ref reaches. Raise what ``write_pack`` raises."""
    tips = _tips(objects)
    old = _worth_it(objects, tips, time.time_ns() - int(limits.unreachable_seconds * 1e9))
    if not old or sum(map(len, objects.packs)) > limits.objects:
        return
    reached = _reached(objects, tips)
    if reached is None:
        return
    places = [pack.first + row for pack in old for row in range(len(pack)) if pack.id(row) in reached]
    if places:
        write_pack(objects, old, places)
    with locked(objects.repository / LOCK):
        # (Note [Dropping beside pushes])
        if _tips(objects) <= reached and not any((objects.repository / "objects").glob(_QUARANTINES)):
            delete_packs(objects.repository, old)


def _tips(objects: Objects) -> set[bytes]:
    return {bytes.fromhex(value.decode()) for value in read_refs(objects.repository).values.values()}


def _worth_it(objects: Objects, tips: Iterable[bytes], before: int) -> list[PackRows]:
    """The packs that nothing was added to since ``before``, and of whose commits many are not reached."""
    old = [pack for pack in objects.packs if pack.path and not is_kept(pack) and age(pack) < before]
    reach = Reach(objects, tips)
    if not old or reach.all_commits:
        return []
    graph, found = objects.graph, []
    for pack in old:
        numbers = [graph.number(pack.id(row)) for row in pack.chart.commits]
        if _SHARE * sum(number not in reach.commits for number in numbers) > len(numbers):
            found.append(pack)
    return found


def _reached(objects: Objects, tips: Iterable[bytes]) -> set[bytes] | None:
    """The ids of all that ``tips`` reach; None when something is missing, and nothing should be deleted."""
    waiting = list(tips)
    reached = set(waiting)
    while waiting:
        place = objects.place(waiting.pop())
        if place is None:
            return None
        fresh = [name for name in _needs(objects, place) if name not in reached]
        reached.update(fresh)
        waiting += fresh
    return reached


def _needs(objects: Objects, place: int) -> list[bytes]:
    if objects.kind(place) == BLOB:
        return []
    kind, content = objects.read(place)
    if kind == TREE:
        return tree_children(content)
    if kind == TAG:
        return [tag_target(content)]
    tree, parents, _ = commit_head(content)
    return [tree, *parents]
