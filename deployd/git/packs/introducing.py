"""What a commit brings: the objects of its tree that are in none of its parents' trees, found without names.

Objects are ints here. The trees are compared level by level: the children of the new ones less the children of the old
ones. What a commit only moved to another depth is listed once more, so a list may be a little too long, never too
short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

Children = Callable[[int], Set[int]]
"""What a tree has in it, submodules left out."""
Trees = Callable[[Iterable[int]], Sequence[int]]
"""Those of some objects that are trees."""
_NOTHING: frozenset[int] = frozenset()


def introduced(tree: int, olds: Set[int], children: Children, trees: Trees) -> tuple[set[int], int]:
    """The objects of ``tree`` (itself too) that are not in the trees ``olds``, and how many entries were looked at."""
    if tree in olds:
        return set(), len(olds)
    found, effort = {tree}, len(olds)
    new, old = trees((tree,)), trees(olds)
    while new:
        there = children(new[0]) if len(new) == 1 else _NOTHING.union(*map(children, new))
        gone = children(old[0]) if len(old) == 1 else _NOTHING.union(*map(children, old))
        effort += len(there) + len(gone)
        arriving = there - gone
        if not arriving:
            break
        found |= arriving
        new = trees(arriving)
        if new:
            old = trees(gone - there)
    return found, effort
