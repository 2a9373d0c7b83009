"""What can be reached from some tips: which commits, and whether any other object, or simply everything there is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Set
from functools import cached_property

from deployd.git.kinds import TAG
from deployd.git.packs.ancestry import ancestors
from deployd.git.packs.objects import Objects
from deployd.git.packs.rows import NUMBER, ROW


class Reach:
    """From ``tips``, 20-byte ids of objects of any kind; those that are not here are passed over.

    It is true of the repository as it was: make a new one when ``objects.version`` has changed. ``commits`` are
    numbers in the graph, ``tags`` the ids of the tag objects on the way.
    """

    def __init__(self, objects: Objects, tips: Iterable[bytes]) -> None:
        self._objects = objects
        self.tags: set[bytes] = set()
        starts, self._others = set(), set()
        graph = objects.graph
        for object_id in tips:
            while object_id in graph.tags and object_id not in self.tags:
                self.tags.add(object_id)
                object_id = graph.tags[object_id]
            number = graph.number(object_id)
            if number is not None:
                starts.add(number)
            elif object_id not in self.tags:
                self._others.add(object_id)
        self._starts = starts

    @cached_property
    def all_commits(self) -> bool:
        """Whether every commit of the repository is reached."""
        graph = self._objects.graph
        return graph.heads <= self._starts or len(self.commits) == len(graph)

    @cached_property
    def commits(self) -> Set[int]:
        """The numbers of all commits that are reached."""
        graph = self._objects.graph
        return set(range(len(graph))) if graph.heads <= self._starts else ancestors(graph, self._starts)

    @cached_property
    def others(self) -> Set[int]:
        """The places of what is reached, but of no commit's: tags, and trees and blobs that tips or tags point at."""
        objects = self._objects
        found = {place for tag in self.tags for place in objects.places(tag)}
        waiting = {place for other in self._others for place in objects.places(other)}
        while waiting:
            found |= waiting
            waiting = set[int]().union(*map(objects.tree_set, objects.trees(waiting))) - found
        return found

    @cached_property
    def everything(self) -> bool:
        """Whether every object of every pack is reached, so that the packs may be given away as they are."""
        objects = self._objects
        if not self.all_commits or objects.graph.tags.keys() - self.tags:
            return False
        return all(
            pack.first + row in self.others or self._introduced_elsewhere(pack.id(row))
            for pack in objects.packs
            for row in pack.chart.rest
        )

    def __contains__(self, object_id: bytes) -> bool:
        """Whether an object is reached."""
        number = self._objects.graph.number(object_id)
        if number is not None:
            return self.all_commits or number in self.commits
        places = list(self._objects.places(object_id))
        if not places or object_id in self.tags:
            return bool(places)
        return self.everything or not self._places.isdisjoint(places)

    @cached_property
    def _places(self) -> Set[int]:
        return self._objects.graph.introduced(self.commits) | self.others

    def _introduced_elsewhere(self, object_id: bytes) -> bool:
        """Whether a commit of another pack brought this object, as it did where a thin pack was completed."""
        for place in self._objects.places(object_id):
            pack, row = self._objects.packs[place >> NUMBER], place & ROW
            rest = pack.chart.rest
            at = bisect_left(rest, row)
            if pack.kinds[row] != TAG and (at == len(rest) or rest[at] != row):
                return True
        return False
