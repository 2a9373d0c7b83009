"""Which pack answers a fetch, said so that equal packs have equal recipes, whoever asks for them.

Fifty drones that fetch one commit have one recipe, and so one pack. Where history is not cut, what a reader has is said
by the commits just behind those that it gets: what else it has makes no difference to the pack.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from hashlib import sha1

from attrs import asdict, frozen

from deployd.git.packs.ancestry import between
from deployd.git.packs.graph import Graph
from deployd.git.packs.objects import Objects
from deployd.git.serving.cutting import Cut
from deployd.git.serving.filtering import Filter
from deployd.git.serving.offers import Offer
from deployd.git.serving.request import FetchRequest
from deployd.git.serving.wanting import Wanted, visible


@frozen
class Recipe:
    """Ids in 40 hex digits, in order. The pack has the commits that ``tips`` lead to and ``held`` do not, none of them
    through a commit of ``cut``, and what belongs to them; and ``others``: tags, trees and files.

    ``filter`` says what of all that is left out again, unless it is one of ``others`` itself.
    ``thin``: a delta may have a base that the reader has; ``distances``: it may say how far back its base is.
    """

    tips: tuple[str, ...]
    held: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    filter: str = ""
    thin: bool = False
    distances: bool = True

    @property
    def key(self) -> str:
        """40 hex digits that no other recipe for the same repository has."""
        return sha1(json.dumps(asdict(self)).encode(), usedforsecurity=False).hexdigest()


def write_recipe(
    objects: Objects, offer: Offer, request: FetchRequest, wanted: Wanted, commons: Iterable[int], cut: Cut
) -> Recipe:
    """The recipe of the pack for ``request``: ``wanted`` less what the reader has with ``commons``."""
    graph, others = objects.graph, set(wanted.others)
    held = {*commons, *cut.opened}
    tips = wanted.commits.union(*map(graph.parents.__getitem__, cut.opened))
    tags = [pair for pair in offer.annotated if pair[0] not in others] if b"include-tag" in request.options else []
    if held or tags:
        new = between(graph, held, tips, cut.at)
        for tag in _along(objects, tags, new):
            others.update(_chain(objects, tag))
        if cut.at:
            # Deltas may be made against these, so they must be nothing that the reader only claims to have.
            held = {*visible(objects, offer, held)}
        else:
            behind = set[int]().union(*map(graph.parents.__getitem__, new))
            tips, held = new - behind, behind - new
    elif graph.heads <= tips and not cut.at:
        tips = graph.heads
    left_out = str(Filter.parse(request.filter))
    # A reader that leaves something out may not have the base.
    thin = b"thin-pack" in request.options and bool(held) and not left_out
    return Recipe(
        _names(graph, tips),
        _names(graph, held),
        _names(graph, cut.at),
        tuple(sorted(name.hex() for name in others)),
        left_out,
        thin,
        b"ofs-delta" in request.options,
    )


def _names(graph: Graph, numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(sorted(graph.ids[number].hex() for number in numbers))


def _along(objects: Objects, tags: Iterable[tuple[bytes, bytes]], new: Set[int]) -> Iterator[bytes]:
    """Those of ``tags`` that go along with the commits ``new``: what they point at, in the end, comes with these."""
    graph, trees = objects.graph, set[bytes]()
    for tag, end in tags:
        number = graph.number(end)
        if number is None and not trees:
            # Few repositories tag a tree. Left out, git would ask for it alone later, and forget to deepen.
            trees = {objects.id(graph.tree(commit)) for commit in new}
        if end in trees if number is None else number in new:
            yield tag


def _chain(objects: Objects, tag: bytes) -> Iterable[bytes]:
    """A tag object and those that it points at."""
    while tag in objects.graph.tags:
        yield tag
        tag = objects.graph.tags[tag]
