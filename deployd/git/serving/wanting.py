"""What a reader wants, found, and whether it may have it: whatever the refs lead to that it may see, and nothing else.

A push may move a branch between a reader's two requests, who then wants what the branch was on before; and a reader of
part of a repository asks for single files later. So any object will do that is in the history of what is offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from functools import cached_property

from attrs import Factory, define, field

from deployd.git.packs.objects import Objects
from deployd.git.problems import NotOurs
from deployd.git.serving.ancestry import ancestors, within
from deployd.git.serving.offers import Offer


@define
class Wanted:
    """``commits`` by number, those of tags included; ``others``: the 20-byte ids of tags, trees and files."""

    commits: set[int] = Factory(set)
    others: set[bytes] = Factory(set)


def find_wanted(objects: Objects, offer: Offer, wants: Iterable[bytes]) -> Wanted:
    """Find what is wanted; raise NotOurs, in git's words, when the reader may not have all of it."""
    search = _Search(objects, offer)
    for object_id in wants:
        search.add(object_id)
    search.check()
    return search.wanted


def tips(objects: Objects, offer: Offer) -> set[int]:
    """The commits that refs are on, by number, those of tags included."""
    numbers = map(objects.graph.number, (*offer.tips, *(end for _, end in offer.annotated)))
    return {number for number in numbers if number is not None}


def visible(objects: Objects, offer: Offer, asked: Set[int]) -> Set[int]:
    """Those of these commits, by number, that are in the history of what is offered."""
    return within(objects.graph, tips(objects, offer), asked) if asked else asked


@define(slots=False)
class _Search:
    objects: Objects
    offer: Offer
    wanted: Wanted = field(init=False, factory=Wanted)
    _commits: set[int] = field(init=False, factory=set)
    _others: set[bytes] = field(init=False, factory=set)

    def add(self, object_id: bytes) -> None:
        offered, number = object_id in self.offer.tips, self.objects.graph.number(object_id)
        if number is not None:
            if not offered:
                self._commits.add(number)
        elif self.objects.place(object_id) is None:
            raise _not_ours(object_id)
        elif not offered:
            self._others.add(object_id)
        self._take(object_id)

    def check(self) -> None:
        """Raise NotOurs when there is something that no ref leads to."""
        if alien := self._commits - visible(self.objects, self.offer, self._commits):
            raise _not_ours(*map(self.objects.graph.ids.__getitem__, alien))
        hidden = self._others and self._others - self._tags - self._of_trees
        if hidden and not hidden <= self._of_commits:
            raise _not_ours(*(hidden - self._of_commits))

    def _take(self, object_id: bytes) -> None:
        """What a tag points at comes with it, and so on."""
        graph = self.objects.graph
        while graph.number(object_id) is None and object_id not in self.wanted.others:
            self.wanted.others.add(object_id)
            if object_id not in graph.tags:
                return
            object_id = graph.tags[object_id]
        number = graph.number(object_id)
        if number is not None:
            self.wanted.commits.add(number)

    @cached_property
    def _tags(self) -> set[bytes]:
        """The tag objects that refs lead to, and what they point at in the end."""
        found = set[bytes]()
        for object_id in self.offer.tips & self.objects.graph.tags.keys():
            while object_id not in found:
                found.add(object_id)
                object_id = self.objects.graph.tags.get(object_id, object_id)
        return found

    @cached_property
    def _of_trees(self) -> set[bytes]:
        """What is in trees that refs are on, or tags."""
        objects = self.objects
        ends = {end for end in self._tags | self.offer.tips if objects.graph.number(end) is None}
        waiting = {place for end in ends if (place := objects.place(end)) is not None}
        found = set(waiting)
        while waiting:
            waiting = set[int]().union(*map(objects.tree_set, waiting)) - found
            found |= waiting
        return set(map(objects.id, found))

    @cached_property
    def _of_commits(self) -> set[bytes]:
        """Those of what is asked for that are in any commit's tree."""
        objects = self.objects
        history = ancestors(objects.graph, tips(objects, self.offer))
        introduced = objects.graph.introduced_by(history)
        return {name for name in self._others if not introduced.isdisjoint(objects.places(name))}


def _not_ours(*object_ids: bytes) -> NotOurs:
    return NotOurs(f"upload-pack: not our ref {min(object_ids).hex()}")
