"""The chart of a pack that was put together from other packs' entries: their charts, with other rows, nothing read."""

from __future__ import annotations

from array import array

from attrs import define, field

from deployd.git.kinds import COMMIT, TAG
from deployd.git.packs.chart import Chart, chart_of
from deployd.git.packs.objects import Objects
from deployd.git.packs.rows import NUMBER, ROW, PackRows


def merge_charts(objects: Objects, places: array[int], offsets: array[int], bases: array[int]) -> Chart:
    """The chart of a new pack with the objects that are at ``places`` now, each once, in the new pack's order.

    ``offsets`` are the new ones, and where the last entry ends; ``bases`` new rows, or -1.
    """
    return _Merging(objects, places, offsets, bases).chart()


@define
class _Merging:
    objects: Objects
    places: array[int]
    offsets: array[int]
    bases: array[int]
    _rows: dict[int, array[int]] = field(init=False, factory=dict)
    _elsewhere: dict[bytes, int] = field(init=False, factory=dict)
    _indexes: dict[int, dict[int, int]] = field(init=False, factory=dict)
    _outside: dict[bytes, int] = field(init=False, factory=dict)

    def chart(self) -> Chart:
        ids, kinds = bytearray(), bytearray()
        for place in self.places:
            pack, row = self._source(place)
            ids += pack.chart.ids[row * 20 : row * 20 + 20]
            kinds.append(pack.kinds[row])
        self._number_rows()
        columns = self._commits([row for row, kind in enumerate(kinds) if kind == COMMIT])
        columns["tags"] = array("I", (row for row, kind in enumerate(kinds) if kind == TAG))
        columns["targets"] = array("i", map(self._target, columns["tags"]))
        whole: dict[str, array[int] | bytes | bytearray] = {**columns, "ids": ids, "kinds": kinds}
        whole |= {"offsets": self.offsets, "bases": self.bases, "outside": b"".join(self._outside)}
        return chart_of(whole, len(kinds))

    def _source(self, place: int) -> tuple[PackRows, int]:
        return self.objects.packs[place >> NUMBER], place & ROW

    def _number_rows(self) -> None:
        """By old pack: the new row of each of its rows, or -1 for one that does not go along."""
        for number in {place >> NUMBER for place in self.places}:
            pack = self.objects.packs[number]
            self._rows[number] = array("i", [-1]) * len(pack)
            for rows in (pack.chart.commits, pack.chart.tags):
                self._indexes.setdefault(number, {}).update((row, index) for index, row in enumerate(rows))
        for new, place in enumerate(self.places):
            self._rows[place >> NUMBER][place & ROW] = new

    def _reference(self, pack: PackRows, reference: int) -> int:
        """What ``reference`` in the chart of an old pack is in the new one's."""
        if reference >= 0:
            new = self._rows[pack.number][reference]
            if new >= 0:
                return new
        object_id = pack.chart.id_of(reference)
        known = self._elsewhere.get(object_id)
        if known is None:
            known = self._elsewhere[object_id] = self._look(object_id)
        return known

    def _look(self, object_id: bytes) -> int:
        for place in self.objects.places(object_id):
            rows = self._rows.get(place >> NUMBER)
            if rows is not None and rows[place & ROW] >= 0:
                return rows[place & ROW]
        return ~self._outside.setdefault(object_id, len(self._outside))

    def _commits(self, rows: list[int]) -> dict[str, array[int]]:
        graph = self.objects.graph
        level = {}
        for row in rows:
            number = graph.number(self.objects.id(self.places[row]))
            assert number is not None
            level[row] = graph.levels[number]
        rows = sorted(rows, key=level.__getitem__)
        index = {row: position for position, row in enumerate(rows)}
        times, trees = array("q"), array("i")
        parent_starts, parents = array("I", [0]), array("i")
        introduced_starts, introduced = array("Q", [0]), array("i")
        for row in rows:
            pack, old = self._source(self.places[row])
            chart, at = pack.chart, self._indexes[pack.number][old]
            times.append(chart.times[at])
            trees.append(self._reference(pack, chart.trees[at]))
            for parent in chart.parents[chart.parent_starts[at] : chart.parent_starts[at + 1]]:
                known = self._reference(pack, chart.commits[parent] if parent >= 0 else parent)
                parents.append(index[known] if known >= 0 else known)
            parent_starts.append(len(parents))
            listed = chart.introduced[chart.introduced_starts[at] : chart.introduced_starts[at + 1]]
            introduced.extend(self._reference(pack, reference) for reference in listed)
            introduced_starts.append(len(introduced))
        return {
            "commits": array("I", rows),
            "times": times,
            "trees": trees,
            "parent_starts": parent_starts,
            "parents": parents,
            "introduced_starts": introduced_starts,
            "introduced": introduced,
        }

    def _target(self, row: int) -> int:
        pack, old = self._source(self.places[row])
        return self._reference(pack, pack.chart.targets[self._indexes[pack.number][old]])
