"""What a commit brings: the objects of its tree that are in none of its parents' trees, found without names.

Objects are ints here. The trees are compared level by level: the children of the new ones less the children of the old
ones. What a commit only moved to another depth is listed once more, so a list may be a little too long, never too
short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

Children = Callable[[int], Set[int]]
"""What a tree has in it, submodules left out; nothing for what is no tree."""


def introduced(tree: int, olds: Iterable[int], children: Children) -> tuple[set[int], int]:
    """The objects of ``tree`` (itself too) that are not in the trees ``olds``, and how many entries were looked at."""
    old = set(olds)
    new = {tree} - old
    found = set(new)
    effort = 0
    while new:
        arriving = set[int]().union(*map(children, new))
        leaving = set[int]().union(*map(children, old))
        effort += len(arriving) + len(leaving) + len(new) + len(old)
        new = arriving - leaving - found
        old = leaving - arriving
        found |= new
    return found, effort
