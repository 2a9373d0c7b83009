"""Where the history that a reader gets begins: shallow clones, and how they are deepened.

A commit at the cut comes with its files and without its parents. A reader says which of its commits are such; it hears
which more will be (``shallow``), and which no longer (``unshallow``), because what is behind them comes now.
"""

from __future__ import annotations

from collections.abc import Set

from attrs import frozen

from deployd.git import pktlines
from deployd.git.packs.ancestry import ancestors, between, near
from deployd.git.packs.objects import Objects
from deployd.git.problems import NotOurs
from deployd.git.serving.offers import Offer
from deployd.git.serving.request import INFINITE_DEPTH, FetchRequest
from deployd.git.serving.wanting import visible

_RULES = (b"", b"refs/", b"refs/tags/", b"refs/heads/")


@frozen
class Cut:
    """Commits by number. ``at``: all behind which the reader will have nothing, or has nothing while it asks;
    ``opened``: those of its cuts whose parents come now. ``lines``: what it hears of the change, in pkt-lines."""

    at: frozenset[int] = frozenset()
    opened: frozenset[int] = frozenset()
    lines: bytes = b""


def cut_history(objects: Objects, offer: Offer, request: FetchRequest, wants: Set[int]) -> Cut:
    """Where the reader's history will be cut; raise NotOurs when it asks for an impossible cut."""
    graph = objects.graph
    theirs = {number for name in request.shallow if (number := graph.number(name)) is not None}
    if not request.deepens:
        return Cut(frozenset(theirs))
    if request.depth == INFINITE_DEPTH:
        border, opened = set[int](), visible(objects, offer, theirs)
    elif request.depth and b"deepen-relative" in request.options:
        inside, border = near(graph, visible(objects, offer, theirs), request.depth + 1)
        opened = theirs & inside
    elif request.depth:
        inside, border = near(graph, wants, request.depth)
        opened = theirs & inside
    else:
        inside, border = _selected(objects, offer, request, wants)
        opened = theirs & inside
    lines = [b"shallow " + graph.ids[number].hex().encode() for number in sorted(border - theirs)]
    lines += [b"unshallow " + graph.ids[number].hex().encode() for number in sorted(opened)]
    said = b"".join(pktlines.line(line + b"\n") for line in lines)
    return Cut(frozenset(theirs | border), frozenset(opened), said)


def _selected(objects: Objects, offer: Offer, request: FetchRequest, wants: Set[int]) -> tuple[set[int], set[int]]:
    """(the commits since a time and not in refs that are left out, but for those at the cut, which are the second)."""
    graph = objects.graph
    since = request.since or 0
    left_out = [_commit_of(objects, offer, name) for name in request.excluded]
    eligible = {number for number in between(graph, left_out, wants) if graph.times[number] >= since}
    selected = {want for want in wants if want in eligible}
    waiting = list(selected)
    while waiting:
        for parent in graph.parents[waiting.pop()]:
            if parent in eligible and parent not in selected:
                selected.add(parent)
                waiting.append(parent)
    if not selected:
        raise NotOurs("upload-pack: no commits selected for shallow requests")
    border = {number for number in selected if not selected.issuperset(graph.parents[number])}
    # Of what is only behind the cut a reader must hear nothing: it does not get it (C git says it, and then fails).
    reached = ancestors(graph, selected.intersection(wants), border)
    return reached - border, reached & border


def _commit_of(objects: Objects, offer: Offer, name: bytes) -> int:
    found = [rule + name for rule in _RULES if rule + name in offer.values]
    if len(found) == 1:
        value = offer.peeled.get(found[0], offer.values[found[0]])
        number = objects.graph.number(bytes.fromhex(value.decode()))
        if number is not None:
            return number
    raise NotOurs(f"upload-pack: ambiguous deepen-not: {name.decode('utf-8', 'replace')}")
