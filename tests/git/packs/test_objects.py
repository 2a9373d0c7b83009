"""What charts say about histories of every shape, held against a plain walk over all objects."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.packs.ancestry import between, within
from deployd.git.packs.merging import merge_charts
from deployd.git.packs.objects import Objects
from deployd.git.packs.reach import Reach
from tests.git.packs.histories import History, history, repository, shapes, store

Cuts = list[int]
picks = st.lists(st.integers(0, 30), max_size=3)


def raw(names: Any) -> set[bytes]:
    """Ids of 20 bytes from hex ones."""
    return {bytes.fromhex(name) for name in names}


def pushes(made: History, cuts: Cuts) -> list[list[str]]:
    """The objects of each push, when the history came in parts; each has what the ones before do not."""
    ends = sorted({cut % len(made.commits) + 1 for cut in cuts} | {len(made.commits)})
    parts, there = [], set[str]()
    for end in ends:
        new = made.reachable(made.commits[:end]) - there
        parts.append([name for name in made.objects if name in new])
        there |= new
    return parts


class ChartTests(SynchronousTestCase):
    def opened(self, made: History, parts: list[list[str]]) -> Objects:
        where = repository(Path(self.mktemp()))
        for part in parts:
            store(where, made, part)
        objects = Objects(where)
        self.addCleanup(objects.close)
        objects.refresh()
        return objects

    @given(shape=shapes, cuts=picks, wanted=picks, held=picks)
    def test_a_fetch_gets_what_it_lacks(self, shape: Any, cuts: Cuts, wanted: Cuts, held: Cuts) -> None:
        """All that is reachable from the wants and not from the haves, and nothing that is not from the wants."""
        made = history(shape)
        objects = self.opened(made, pushes(made, cuts))
        graph = objects.graph
        wants, haves = ([made.commits[n % len(made.commits)] for n in numbers] for numbers in (wanted, held))
        ends = [[graph.number(bytes.fromhex(name)) for name in names] for names in (wants, haves)]
        new = between(graph, ends[1], ends[0])  # type: ignore[arg-type]
        self.assertEqual({graph.ids[number] for number in new}, raw(made.before(wants) - made.before(haves)))
        sent = {objects.id(place) for place in graph.introduced(new)}
        self.assertLessEqual(raw(made.reachable(wants) - made.reachable(haves)), sent)
        self.assertLessEqual(sent, raw(made.reachable(wants)))
        for old, name in zip(ends[1], haves, strict=True):
            for number, want in zip(ends[0], wants, strict=True):
                self.assertEqual(within(graph, [number], {old}) == {old}, name in made.before([want]))  # type: ignore[arg-type,list-item]

    @given(shape=shapes, cuts=picks)
    def test_the_graph_is_the_history(self, shape: Any, cuts: Cuts) -> None:
        """Parents, trees, levels and heads; every object has its kind and content, every pack is closed."""
        made = history(shape)
        objects = self.opened(made, pushes(made, cuts))
        graph = objects.graph
        self.assertEqual(set(graph.ids), raw(made.commits))
        for number, name in enumerate(graph.ids):
            self.assertEqual({graph.ids[p] for p in graph.parents[number]}, raw(made.parents[name.hex()]))
            self.assertEqual(graph.levels[number], 1 + max((graph.levels[p] for p in graph.parents[number]), default=0))
            self.assertEqual(graph.times[number], 1700000000)
            self.assertEqual(objects.id(graph.tree(number)).hex(), made.objects[name.hex()][1][5:45].decode())
        parents = set[str]().union(*made.parents.values())
        self.assertEqual({graph.ids[number] for number in graph.heads}, raw(set(made.commits) - parents))
        for name, (kind, content) in made.objects.items():
            place = objects.place(bytes.fromhex(name))
            assert place is not None
            self.assertEqual((objects.read(place), objects.size(place)), ((kind, content), len(content)))
        self.assertTrue(all(not len(pack.chart.rest) for pack in objects.packs))

    @given(shape=shapes, cuts=picks)
    def test_packs_that_come_one_by_one_make_the_same_graph(self, shape: Any, cuts: Cuts) -> None:
        """In the wrong order too, and numbers stay what they were."""
        made = history(shape)
        parts = pushes(made, cuts)
        whole = self.opened(made, parts).graph
        objects = Objects(repository(Path(self.mktemp())))
        self.addCleanup(objects.close)
        for part in reversed(parts):
            store(objects.repository, made, part)
            before = list(objects.graph.ids)
            self.assertFalse(objects.refresh())
            self.assertEqual(objects.graph.ids[: len(before)], before)
        graph = objects.graph
        for number, name in enumerate(graph.ids):
            other = whole.number(name)
            assert other is not None
            self.assertEqual(graph.levels[number], whole.levels[other])
            self.assertEqual(
                sorted(graph.ids[p] for p in graph.parents[number]), sorted(whole.ids[p] for p in whole.parents[other])
            )
        self.assertEqual({graph.ids[n] for n in graph.heads}, {whole.ids[n] for n in whole.heads})

    @given(shape=shapes, cuts=picks, twice=st.booleans())
    def test_a_merged_chart_is_as_one_made_anew(self, shape: Any, cuts: Cuts, twice: bool) -> None:
        """Whatever packs it comes from, also when an object is in two of them."""
        made = history(shape)
        parts = pushes(made, cuts)
        if twice and len(parts) > 1:
            parts[-1] = parts[0] + parts[-1]
        anew = self.opened(made, [[name for part in parts for name in part][::-1]]).packs[0].chart
        objects = self.opened(made, parts)
        places = array("Q")
        for row in range(len(anew)):
            place = objects.place(anew.id(row))
            assert place is not None
            places.append(place)
        merged = merge_charts(objects, places, array("Q", anew.offsets), array("i", anew.bases))
        for name in ("offsets", "ids", "order", "slots", "kinds", "bases", "rest", "outside"):
            self.assertEqual(list(getattr(merged, name)), list(getattr(anew, name)), name)
        for chart in (merged, anew):
            place_of = {row: index for index, row in enumerate(chart.commits)}
            self.assertTrue(
                all(
                    p < n
                    for n in place_of.values()
                    for p in chart.parents[chart.parent_starts[n] : chart.parent_starts[n + 1]]
                )
            )
        self.assertEqual(_by_commit(merged), _by_commit(anew))

    @given(shape=shapes, cuts=picks, tips=picks, tagged=picks)
    def test_reach_knows_what_tips_lead_to(self, shape: Any, cuts: Cuts, tips: Cuts, tagged: Cuts) -> None:
        """Commits, and also tags of tags, of trees and of blobs."""
        made = history(shape)
        parts = pushes(made, cuts)
        before = list(made.objects)
        tags = [made.tag(before[number % len(before)]) for number in tagged]
        tags += [made.tag(tag) for tag in tags[:1]]
        objects = self.opened(made, [*parts, tags])
        chosen = [(made.commits + tags)[number % len(made.commits + tags)] for number in tips]
        reach = Reach(objects, raw([*chosen, "1" * 40]))
        reached = made.reachable(chosen)
        for name in (*made.objects, "1" * 40):
            self.assertEqual(bytes.fromhex(name) in reach, name in reached)
        self.assertEqual(reach.everything, reached == made.objects.keys())


def _by_commit(chart: Any) -> dict[int, tuple[Any, ...]]:
    found = {}
    for index, row in enumerate(chart.commits):
        parents = chart.parents[chart.parent_starts[index] : chart.parent_starts[index + 1]]
        brought = chart.introduced[chart.introduced_starts[index] : chart.introduced_starts[index + 1]]
        before = [chart.commits[parent] if parent >= 0 else chart.outside_id(parent) for parent in parents]
        found[row] = (before, set(brought), chart.trees[index], chart.times[index])
    return found
