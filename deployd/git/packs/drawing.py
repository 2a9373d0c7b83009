"""From a survey of a pack to its chart.

What a commit introduces is compared with its parents' trees, which may be in older packs; those few are looked up. A
pack made to be expensive (many commits without parents on one large tree) has lists only as far as is reasonable, and
for the rest they are found when they are asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence, Set
from itertools import chain

from attrs import define, field

from deployd.git.kinds import COMMIT, TREE
from deployd.git.packs.chart import Chart, chart_of
from deployd.git.packs.introducing import introduced
from deployd.git.packs.survey import Survey, commit_head, tree_children

Lookup = Callable[[bytes], tuple[int, bytes] | None]
"""Finds (kind, content) of a commit or tree outside the pack by its id; None: it is not here, or something else."""
_CACHED_ENTRIES = 1 << 20
_NOTHING: frozenset[int] = frozenset()
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
    _sets: dict[int, Set[int]] = field(init=False, factory=dict)
    _cached: int = field(init=False, default=0)
    _spent: int = field(init=False, default=0)

    def chart(self) -> Chart:
        length = len(self.rows.ids)
        self._number_rows()
        self._tree_of = {number: tree for number, tree, _, _ in self.survey.commits()}
        columns = self._commits()
        columns["tags"], columns["targets"] = array("I"), array("i")
        for number, target in self.survey.tags():
            columns["tags"].append(self._reference(number))
            columns["targets"].append(self._reference(target))
        seen = bytearray(length)
        for row in chain(columns["tags"], columns["introduced"]):
            if row >= 0:
                seen[row] = 1
        columns["rest"] = array("I", (row for row in range(length) if not seen[row]))
        whole: dict[str, array[int] | bytes | bytearray] = {**columns}
        whole |= {"offsets": self.rows.offsets, "kinds": self.rows.kinds, "bases": self.rows.bases}
        whole |= {"ids": b"".join(self.rows.ids), "outside": b"".join(self._outside)}
        return chart_of(whole, length)

    def _number_rows(self) -> None:
        """By number: 0 for what nobody asked for yet, row + 1, or ``~k``."""
        numbers = self.survey.numbers
        self._references = array("q", bytes(8 * len(numbers)))
        for row, object_id in enumerate(self.rows.ids):
            number = numbers.get(object_id)
            if number is not None:
                self._references[number] = row + 1

    def _reference(self, number: int) -> int:
        references = self._references
        if number >= len(references):
            references.frombytes(bytes(8 * (number + 1024 - len(references))))
        reference = references[number]
        if not reference:
            self._outside.append(self.survey.numbers.names[number])
            reference = references[number] = -len(self._outside)
        return reference - 1 if reference > 0 else reference

    def _commits(self) -> dict[str, array[int]]:
        ordered = self._parents_first()
        index = {commit[0]: position for position, commit in enumerate(ordered)}
        commits, times, trees = array("I"), array("q"), array("i")
        parent_starts, parents = array("I", [0]), array("i")
        introduced_starts, listed = array("Q", [0]), array("i")
        room = 16 * len(self.rows.ids) + (1 << 16)
        effort = 64 * (self.survey.entries() + len(self.rows.ids)) + (1 << 20)
        for number, tree, before, time in ordered:
            commits.append(self._reference(number))
            times.append(time)
            trees.append(self._reference(tree))
            parents.extend(index[parent] if parent in index else self._reference(parent) for parent in before)
            parent_starts.append(len(parents))
            if len(listed) < room and self._spent < effort:
                listed.append(commits[-1])
                found = introduced(tree, self._old_trees(before), self._children)
                listed.extend(sorted(map(self._reference, found)))
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

    def _old_trees(self, parents: tuple[int, ...]) -> list[int]:
        trees = []
        for parent in parents:
            if parent not in self._tree_of:
                found = self.lookup(self.survey.numbers.names[parent])
                known = found is not None and found[0] == COMMIT
                self._tree_of[parent] = self.survey.numbers[commit_head(found[1])[0]] if found and known else None
            tree = self._tree_of[parent]
            if tree is not None:
                trees.append(tree)
        return trees

    def _children(self, number: int) -> Set[int]:
        known = self._sets.get(number)
        if known is None:
            known = self._look(number)
            if self._cached > _CACHED_ENTRIES:
                self._sets.clear()
                self._cached = 0
            self._sets[number] = known
            self._cached += len(known) + 4
        self._spent += len(known) + 1
        return known

    def _look(self, number: int) -> Set[int]:
        listed = self.survey.children(number)
        if listed is None and (number >= len(self._references) or self._references[number] <= 0):
            object_id = self.survey.numbers.names[number]
            found = self.lookup(object_id)
            if found and found[0] == TREE:
                self.survey.tree(object_id, tree_children(found[1]))
                listed = self.survey.children(number)
        return set(listed) if listed is not None else _NOTHING
