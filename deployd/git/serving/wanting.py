"""What a reader wants, found, and whether it may have it: whatever the refs lead to that it may see, and nothing else.

A push may move a branch between a reader's two requests, who then wants what the branch was on before; and a reader of
part of a repository asks for single files later. So any object will do that is in the history of what is offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from attrs import Factory, define, field

from deployd.git.packs.ancestry import within
from deployd.git.packs.objects import Objects
from deployd.git.problems import BadObject, NotOurs
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


@define
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
            if offered:
                raise BadObject(f"{object_id.hex()} is missing, though a branch or tag leads to it")
            raise _not_ours(object_id)
        elif not offered:
            self._others.add(object_id)
        self._take(object_id)

    def check(self) -> None:
        """Raise NotOurs when there is something that no ref leads to."""
        if alien := self._commits - visible(self.objects, self.offer, self._commits):
            raise _not_ours(*map(self.objects.graph.ids.__getitem__, alien))
        if self._others:
            reach = self.offer.reach(self.objects)
            if hidden := [name for name in self._others if name not in reach]:
                raise _not_ours(*hidden)

    def _take(self, object_id: bytes) -> None:
        """What a tag points at comes with it, and so on."""
        graph, wanted = self.objects.graph, self.wanted
        while (number := graph.number(object_id)) is None and object_id not in wanted.others:
            wanted.others.add(object_id)
            if object_id not in graph.tags:
                return
            object_id = graph.tags[object_id]
        if number is not None:
            wanted.commits.add(number)


def _not_ours(*object_ids: bytes) -> NotOurs:
    return NotOurs(f"upload-pack: not our ref {min(object_ids).hex()}")
