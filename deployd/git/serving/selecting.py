"""Which objects a recipe takes, without a walk over trees but where history is cut.

The chart of each pack says what a commit brought: what its tree has and its parents' trees do not. A reader has the
parents of what it gets, or gets them too; so it needs what the commits brought, and no more. Only behind a cut are
there no parents: such a commit comes with its whole tree, less what is in the trees of commits that the reader has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from heapq import nlargest
from itertools import islice

from attrs import define, field

from deployd.git.packs.ancestry import between
from deployd.git.packs.graph import Graph
from deployd.git.packs.introducing import introduced
from deployd.git.packs.objects import Objects
from deployd.git.problems import NotOurs
from deployd.git.serving.filtering import Filter
from deployd.git.serving.recipes import Recipe

_COMPARED = 32
_EDGES = 8


@define(slots=False)
class Selection:
    """What ``recipe`` takes of ``objects``, by place."""

    objects: Objects
    recipe: Recipe
    _tips: set[int] = field(init=False)
    _held: set[int] = field(init=False)
    _cut: set[int] = field(init=False)
    _new: set[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        graph, recipe = self.objects.graph, self.recipe
        self._tips, self._held, self._cut = (_numbers(graph, names) for names in (recipe.tips, recipe.held, recipe.cut))
        if len(self._tips) < len(recipe.tips):
            raise NotOurs("upload-pack: what was wanted is not here any more")
        self._new = between(graph, self._held, self._tips, self._cut)

    def places(self) -> set[int]:
        """The places of all objects; one that is in several packs may have more than one."""
        graph = self.objects.graph
        alone = {number for number in self._new & self._cut if graph.parents[number]}
        places = graph.introduced(self._new - alone)
        places |= self._whole(alone)
        wanted = {self._place(name) for name in self.recipe.others}
        for place in wanted:
            places |= self._less(place, ())
        if self.recipe.filter:
            places = {*Filter.parse(self.recipe.filter).kept(self.objects, places)}
        return places | wanted

    def bases(self) -> set[bytes]:
        """The ids of some objects that the reader has and that what it gets has come from: the old versions of it."""
        graph, found = self.objects.graph, set[bytes]()
        for new, old in self._edges():
            found.update(map(self.objects.id, self._less(graph.tree(old), [graph.tree(new)])))
        return found

    def _whole(self, commits: Iterable[int]) -> set[int]:
        objects, graph = self.objects, self.objects.graph
        olds = [graph.tree(number) for number in self._newest(self._held, _COMPARED)]
        places = set[int]()
        for number in sorted(commits, key=graph.levels.__getitem__):
            place = objects.place(graph.ids[number])
            assert place is not None
            places.add(place)
            tree = graph.tree(number)
            places |= self._less(tree, olds)
            # The next one is likely to be a neighbour, with much the same files.
            olds = [*olds[:_COMPARED], tree]
        return places

    def _place(self, name: str) -> int:
        place = self.objects.place(bytes.fromhex(name))
        if place is None:
            raise NotOurs(f"upload-pack: {name} is not here any more")
        return place

    def _less(self, tree: int, olds: Iterable[int]) -> Set[int]:
        """The places of what is in ``tree``, itself included, and not in the trees ``olds``."""
        return introduced(tree, set(olds), self.objects.tree_set, self.objects.trees)[0]

    def _edges(self) -> Iterator[tuple[int, int]]:
        """Some pairs of a commit that is sent and one that the reader has, where they are likely to be alike."""
        parents = self.objects.graph.parents
        pairs = (
            (number, parent)
            for number in self._newest(self._new, len(self._new))
            for parent in parents[number]
            if parent in self._held
        )
        yield from islice(pairs, _EDGES)
        if self._cut:
            tips, held = self._newest(self._new & self._cut, 1), self._newest(self._held, _EDGES)
            yield from ((tip, old) for tip in tips for old in held)

    def _newest(self, numbers: Iterable[int], count: int) -> list[int]:
        return nlargest(count, numbers, key=self.objects.graph.times.__getitem__)


def _numbers(graph: Graph, names: Iterable[str]) -> set[int]:
    numbers = (graph.number(bytes.fromhex(name)) for name in names)
    return {number for number in numbers if number is not None}
