"""From a survey of a pack to its chart.

What a commit introduces is compared with its parents' trees, which may be in older packs; those few are looked up. A
pack made to be expensive (many commits without parents on one large tree) has lists only as far as is reasonable, and
for the rest they are found when they are asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence, Set

from attrs import define, field

from deployd.git.kinds import COMMIT, TREE
from deployd.git.packs.chart import Chart, chart_of
from deployd.git.packs.introducing import introduced
from deployd.git.packs.links import commit_head, tree_children
from deployd.git.packs.survey import Survey

Lookup = Callable[[bytes], tuple[int, bytes] | None]
"""Finds (kind, content) of a commit or tree outside the pack by its id; None: it is not here, or something else."""
_KEPT_ENTRIES = 1 << 15
_UNKNOWN = (1 << 31) - 1
_LEAF, _TREE = 1, 2
_Commit = tuple[int, int, tuple[int, ...], int]


@define
class Rows:
    """The entries of a pack in its order. ``offsets`` has one more than the others: where the last entry ends."""

    ids: Sequence[bytes]
    offsets: array[int]
    kinds: bytes | bytearray
    bases: array[int]


def draw_chart(survey: Survey, rows: Rows, lookup: Lookup) -> Chart:
    """The chart of the pack that has these rows, all of whose commits, trees and tags ``survey`` was told of."""
    return _Drawing(survey, rows, lookup).chart()


@define
class _Drawing:
    survey: Survey
    rows: Rows
    lookup: Lookup
    _references: array[int] = field(init=False)
    _outside: list[bytes] = field(init=False, factory=list)
    _tree_of: dict[int, int | None] = field(init=False, factory=dict)
    _children: _Children = field(init=False)

    def chart(self) -> Chart:
        length = len(self.rows.ids)
        self._number_rows()
        self._tree_of = {number: tree for number, tree, _, _ in self.survey.commits()}
        columns = self._commits()
        columns["tags"], columns["targets"] = array("I"), array("i")
        for number, target in self.survey.tags():
            columns["tags"].append(self._reference(number))
            columns["targets"].append(self._reference(target))
        whole: dict[str, array[int] | bytes | bytearray] = {**columns}
        whole |= {"offsets": self.rows.offsets, "kinds": self.rows.kinds, "bases": self.rows.bases}
        whole |= {"ids": b"".join(self.rows.ids), "outside": b"".join(self._outside)}
        return chart_of(whole, length)

    def _number_rows(self) -> None:
        numbers = self.survey.numbers
        references = self._references = array("i", [_UNKNOWN]) * len(numbers)
        states = bytearray(len(numbers))
        for row, number in enumerate(map(numbers.get, self.rows.ids)):
            if number is not None:
                references[number] = row
                states[number] = _TREE if self.rows.kinds[row] == TREE else _LEAF
        self._children = _Children(self.survey, states, self.lookup)

    def _reference(self, number: int) -> int:
        references = self._references
        if number >= len(references):
            references.extend([_UNKNOWN] * (number + 1024 - len(references)))
        if references[number] == _UNKNOWN:
            self._outside.append(self.survey.numbers.names[number])
            references[number] = -len(self._outside)
        return references[number]

    def _all_references(self, numbers: Set[int]) -> array[int]:
        try:
            references = array("i", map(self._references.__getitem__, numbers))
        except IndexError:
            references = array("i", [_UNKNOWN])
        return array("i", map(self._reference, numbers)) if _UNKNOWN in references else references

    def _commits(self) -> dict[str, array[int]]:
        ordered = self._parents_first()
        index = {commit[0]: position for position, commit in enumerate(ordered)}
        commits, times, trees = array("I"), array("q"), array("i")
        parent_starts, parents = array("I", [0]), array("i")
        introduced_starts, listed = array("Q", [0]), array("i")
        room = 4 * len(self.rows.ids) + (1 << 16)
        effort = 8 * (self.survey.entries() + len(self.rows.ids)) + (1 << 20)
        children, those_trees = self._children.__getitem__, self._children.trees
        for number, tree, before, time in ordered:
            commits.append(self._reference(number))
            times.append(time)
            trees.append(self._reference(tree))
            parents.extend(index[parent] if parent in index else self._reference(parent) for parent in before)
            parent_starts.append(len(parents))
            if len(listed) < room and effort > 0:
                found, spent = introduced(tree, self._old_trees(before), children, those_trees)
                effort -= spent
                listed.append(commits[-1])
                listed.extend(self._all_references(found))
            introduced_starts.append(len(listed))
        return {
            "commits": commits,
            "times": times,
            "trees": trees,
            "parent_starts": parent_starts,
            "parents": parents,
            "introduced_starts": introduced_starts,
            "introduced": listed,
        }

    def _parents_first(self) -> list[_Commit]:
        commits = {commit[0]: commit for commit in self.survey.commits()}
        ordered: dict[int, _Commit] = {}
        # A pack has the newest first, so this way round nearly every parent is met before its children.
        for start in reversed(commits):
            waiting = [start]
            while waiting:
                number = waiting[-1]
                before = [p for p in commits[number][2] if p in commits and p not in ordered]
                if before:
                    waiting += before
                else:
                    ordered.setdefault(number, commits[number])
                    waiting.pop()
        return list(ordered.values())

    def _old_trees(self, parents: tuple[int, ...]) -> set[int]:
        trees = set()
        for parent in parents:
            if parent not in self._tree_of:
                found = self.lookup(self.survey.numbers.names[parent])
                known = found is not None and found[0] == COMMIT
                self._tree_of[parent] = self.survey.numbers[commit_head(found[1])[0]] if found and known else None
            tree = self._tree_of[parent]
            if tree is not None:
                trees.add(tree)
        return trees


class _Children(dict[int, Set[int]]):
    """By number, the numbers of what is in a tree; those that were asked for lately are kept."""

    def __init__(self, survey: Survey, states: bytearray, lookup: Lookup) -> None:
        super().__init__()
        self._survey, self._states, self._lookup = survey, states, lookup
        self._room = _KEPT_ENTRIES

    def __missing__(self, number: int) -> Set[int]:
        children = frozenset(self._survey.children(number))
        self._room -= len(children) + 2
        if self._room < 0:
            self.clear()
            self._room = _KEPT_ENTRIES
        self[number] = children
        return children

    def trees(self, numbers: Iterable[int]) -> list[int]:
        """Those that are trees, in the pack or elsewhere."""
        states = self._states
        if len(states) < len(self._survey.numbers):
            states.extend(bytes(len(self._survey.numbers) - len(states)))
        return [number for number in numbers if (states[number] or self._learned(number)) == _TREE]

    def _learned(self, number: int) -> int:
        """Find out about an object outside the pack; if it is a tree, the survey knows of it from now on."""
        object_id = self._survey.numbers.names[number]
        found = self._lookup(object_id)
        self._states[number] = _LEAF
        if found and found[0] == TREE:
            self._survey.tree(object_id, tree_children(found[1]))
            self._states[number] = _TREE
        return self._states[number]
