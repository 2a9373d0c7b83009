"""The commits of a repository by number: what each brought, and from which others it comes (see ``ancestry``)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from attrs import define, field

from deployd.git.packs.chart import ID, Chart
from deployd.git.packs.introducing import Children, Trees, introduced
from deployd.git.packs.rows import NUMBER, ROW, PackRows


@define(eq=False)
class Graph:
    """Numbers are given in the order in which packs are added. A commit that two packs hold has one number.

    ``place`` finds the place of an id, None: it is not here; ``children`` are the places in the tree at a place,
    ``trees`` those of some places where a tree is.

    ``parents``: the numbers of the parents that are here; ``times`` in seconds since 1970; ``levels``: one more than
    the highest of the parents', 1 without any. ``heads``: the commits that are no parent of another. ``tags``: the id
    of each tag object, and the id that it points at.
    """

    place: Callable[[bytes], int | None]
    children: Children
    trees: Trees
    ids: list[bytes] = field(init=False, factory=list)
    parents: list[tuple[int, ...]] = field(init=False, factory=list)
    times: list[int] = field(init=False, factory=list)
    levels: list[int] = field(init=False, factory=list)
    heads: set[int] = field(init=False, factory=set)
    tags: dict[bytes, bytes] = field(init=False, factory=dict)
    _numbers: dict[bytes, int] = field(init=False, factory=dict)
    _packs: list[PackRows] = field(init=False, factory=list)
    _sources: array[int] = field(init=False, factory=lambda: array("Q"))
    _awaited: dict[bytes, set[int]] = field(init=False, factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def number(self, object_id: bytes) -> int | None:
        """The number of a commit by its 20-byte id; None: no commit of this repository."""
        return self._numbers.get(object_id)

    def tree(self, number: int) -> int:
        """The place of a commit's tree. Raise KeyError when it is not here."""
        pack, index = self._source(number)
        reference = pack.chart.trees[index]
        return pack.first + reference if reference >= 0 else self._outside(pack.chart, reference)

    def introduced(self, numbers: Iterable[int]) -> set[int]:
        """The places of these commits, and of what their trees have and their parents' do not, or a little more."""
        references: dict[int, set[int]] = {}
        unlisted = []
        for number in numbers:
            source = self._sources[number]
            chart, index = self._packs[source >> NUMBER].chart, source & ROW
            start, end = chart.introduced_starts[index], chart.introduced_starts[index + 1]
            if start == end:
                unlisted.append(number)
            references.setdefault(source >> NUMBER, set()).update(chart.introduced[start:end])
        places: set[int] = set()
        for index, found in references.items():
            pack = self._packs[index]
            places.update([pack.first + row for row in found if row >= 0])
            outside = (self.place(pack.chart.outside_id(reference)) for reference in found if reference < 0)
            places.update([place for place in outside if place is not None])
        for number in unlisted:
            places |= self._compared(number)
        return places

    def extend(self, packs: Iterable[PackRows]) -> None:
        """Add packs, preferably oldest first. One whose history is in others of them is added after these."""
        waiting = [(pack, _ground(pack.chart)) for pack in packs]
        while waiting:
            later = []
            for pack, ground in waiting:
                if ground <= self._numbers.keys():
                    self._add(pack)
                else:
                    later.append((pack, ground))
            if len(later) == len(waiting):
                self._add(later.pop(0)[0])
            waiting = later

    def _source(self, number: int) -> tuple[PackRows, int]:
        source = self._sources[number]
        return self._packs[source >> NUMBER], source & ROW

    def _outside(self, chart: Chart, reference: int) -> int:
        place = self.place(chart.outside_id(reference))
        if place is None:
            raise KeyError(chart.outside_id(reference))
        return place

    def _compared(self, number: int) -> set[int]:
        olds = {self.tree(parent) for parent in self.parents[number]}
        commit = self.place(self.ids[number])
        assert commit is not None
        return introduced(self.tree(number), olds, self.children, self.trees)[0] | {commit}

    def _add(self, pack: PackRows) -> None:
        chart = pack.chart
        all_ids = bytes(chart.ids)
        names = [all_ids[row * ID : row * ID + ID] for row in chart.commits]
        first, source = len(self.ids), len(self._packs) << NUMBER
        self._packs.append(pack)
        self.tags.update(
            (pack.id(row), chart.id_of(target)) for row, target in zip(chart.tags, chart.targets, strict=True)
        )
        numbers: Sequence[int]
        if self._numbers.keys().isdisjoint(names):
            fresh: Sequence[int] = range(len(names))
            numbers = range(first, first + len(names))
            self._numbers.update(zip(names, numbers, strict=True))
            self.ids += names
        else:
            fresh = [index for index, name in enumerate(names) if name not in self._numbers]
            for index in fresh:
                self._numbers[names[index]] = len(self.ids)
                self.ids.append(names[index])
            numbers = [self._numbers[name] for name in names]
        self._sources.extend(source + index for index in fresh)
        times = chart.times
        self.times += map(times.__getitem__, fresh)
        self._link(chart, numbers, fresh)
        if self._awaited:
            self._arrive(names)

    def _link(self, chart: Chart, numbers: Sequence[int], fresh: Sequence[int]) -> None:
        starts, flat, levels = chart.parent_starts.tolist(), chart.parents.tolist(), self.levels
        linked: list[tuple[int, ...]] = []
        for index in fresh:
            start, end = starts[index], starts[index + 1]
            if end == start + 1 and flat[start] >= 0:
                parent = numbers[flat[start]]
                linked.append((parent,))
                levels.append(levels[parent] + 1)
                continue
            parents: list[int] = []
            for reference in flat[start:end]:
                if reference >= 0:
                    parents.append(numbers[reference])
                else:
                    self._link_outside(chart.outside_id(reference), numbers[index], parents)
            linked.append(tuple(parents))
            levels.append(1 + max((levels[parent] for parent in parents), default=0))
        self.parents += linked
        self.heads.update(numbers[index] for index in fresh)
        self.heads.difference_update(chain.from_iterable(linked))

    def _link_outside(self, name: bytes, number: int, parents: list[int]) -> None:
        parent = self._numbers.get(name)
        if parent is None:
            self._awaited.setdefault(name, set()).add(number)
        else:
            parents.append(parent)

    def _arrive(self, names: Iterable[bytes]) -> None:
        """Link the commits whose parents have come after them, and make the levels right again."""
        arrived = self._awaited.keys() & names
        for name in arrived:
            parent = self._numbers[name]
            self.heads.discard(parent)
            for number in self._awaited.pop(name):
                self.parents[number] += (parent,)
        if arrived:
            self._measure()

    def _measure(self) -> None:
        levels = self.levels = [0] * len(self.ids)
        for start in range(len(levels)):
            waiting = [start]
            while waiting:
                number = waiting[-1]
                before = [parent for parent in self.parents[number] if not levels[parent]]
                if before:
                    waiting += before
                else:
                    levels[number] = 1 + max((levels[parent] for parent in self.parents[number]), default=0)
                    waiting.pop()


def _ground(chart: Chart) -> set[bytes]:
    """The ids of the parents that are in other packs."""
    return {chart.outside_id(reference) for reference in chart.parents if reference < 0}
