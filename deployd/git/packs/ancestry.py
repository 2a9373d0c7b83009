"""Which commits lead to which: walks over history by numbers alone, that read no object.

Commits are numbers of a ``Graph``: ``parents[n]`` are those of commit n that are here, and ``levels[n]`` is one more
than the highest level of its parents. Whatever leads to a commit has a higher level than it: so nothing depends on
the clocks of those who made them, and no answer costs more than the commits between the ones that it is about.

History ends at the commits ``cut``, which are met, and behind which nobody goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from heapq import heapify, heappop, heappush
from typing import Protocol

_NUMBER = 32
_MASK = (1 << _NUMBER) - 1
_WANTED, _LEFT_OUT = 1, 2


class Lineage(Protocol):
    """What of a graph is needed here."""

    @property
    def parents(self) -> Sequence[tuple[int, ...]]: ...

    @property
    def levels(self) -> Sequence[int]: ...


def ancestors(graph: Lineage, tips: Iterable[int], cut: Set[int] = frozenset(), floor: int = 0) -> set[int]:
    """``tips`` and all before them, down to the level ``floor``."""
    parents, levels = graph.parents, graph.levels
    found = {tip for tip in tips if levels[tip] >= floor}
    waiting = list(found)
    while waiting:
        commit = waiting.pop()
        if commit in cut:
            continue
        for parent in parents[commit]:
            if parent not in found and levels[parent] >= floor:
                found.add(parent)
                waiting.append(parent)
    return found


def between(graph: Lineage, held: Iterable[int], tips: Iterable[int], cut: Set[int] = frozenset()) -> set[int]:
    """``tips`` and all before them, less ``held`` and all before those: git's ``held..tips``.

    A commit's descendants are on higher levels, so when none of those waits, it is known who reaches it.
    """
    marks = dict.fromkeys(tips, _WANTED)
    left_out = dict.fromkeys(held, _LEFT_OUT)
    if not left_out:
        return ancestors(graph, marks, cut)
    marks |= left_out
    levels, parents = graph.levels, graph.parents
    waiting = [-levels[number] << _NUMBER | number for number in marks]
    heapify(waiting)
    wanted = sum(mark == _WANTED for mark in marks.values())
    found = set()
    while wanted:
        number = heappop(waiting) & _MASK
        mark = marks[number]
        if mark == _WANTED:
            wanted -= 1
            found.add(number)
        for parent in parents[number] if number not in cut else ():
            before = marks.get(parent)
            if before is None:
                heappush(waiting, -levels[parent] << _NUMBER | parent)
                wanted += mark == _WANTED
                marks[parent] = mark
            elif before < mark:
                wanted -= 1
                marks[parent] = mark
    return found


def all_reach(graph: Lineage, tips: Iterable[int], goals: Set[int], cut: Set[int] = frozenset()) -> bool:
    """Whether each of ``tips`` is one of ``goals`` or leads to one."""
    if not goals:
        return False
    parents, levels = graph.parents, graph.levels
    floor = min(map(levels.__getitem__, goals))
    asked = set(tips)
    region = ancestors(graph, asked, goals | cut, floor)
    reaching = region & goals
    for commit in sorted(region - goals - cut, key=levels.__getitem__):
        if not reaching.isdisjoint(parents[commit]):
            reaching.add(commit)
    return asked <= reaching


def within(graph: Lineage, tips: Iterable[int], asked: Set[int]) -> Set[int]:
    """Those of ``asked`` that are ``tips`` or ancestors of them."""
    return asked & ancestors(graph, tips, floor=min(map(graph.levels.__getitem__, asked))) if asked else asked


def near(graph: Lineage, tips: Iterable[int], depth: int) -> tuple[set[int], set[int]]:
    """(the commits fewer than ``depth`` - 1 steps behind ``tips``, those that many steps): of 1, only the tips."""
    parents = graph.parents
    last, inside = set(tips), set[int]()
    for _ in range(depth - 1):
        if not last:
            break
        inside |= last
        last = {parent for commit in last for parent in parents[commit]} - inside
    return inside, last
