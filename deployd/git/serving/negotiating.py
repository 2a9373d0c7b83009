"""What a reader hears about the commits that it has: which of them are here, and whether that is enough to go on.

A commit of a reader is common when it is here. It is enough when every commit that it wants leads to a common one, or
to a parent of one: then nothing that it might say more would make the pack much smaller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set

from attrs import frozen

from deployd.git import pktlines
from deployd.git.packs.ancestry import all_reach
from deployd.git.packs.graph import Graph
from deployd.git.serving.request import Acks, FetchRequest

_COMMON = {Acks.ONE: b"", Acks.MULTI: b" continue", Acks.DETAILED: b" common"}
_ENOUGH = {Acks.MULTI: b" continue", Acks.DETAILED: b" ready"}


@frozen
class Negotiated:
    """``reply``: what is said; ``commons``: commits by number; ``sends``: whether a pack follows."""

    reply: bytes
    commons: tuple[int, ...]
    sends: bool


def negotiate(graph: Graph, request: FetchRequest, wants: Collection[int], cut: Set[int]) -> Negotiated:
    """One round of version 0, whose history ends at the commits ``cut``.

    As with C git, a pack follows ``done``, or also being ready with a client that need not say done; and we are ready
    or not at a commit that only the reader has, or at the end of a round without any.
    """
    way, last, ready = request.acks, b"", False
    lines, commons = list[bytes](), list[int]()
    strange = max((at for at, have in enumerate(request.haves) if graph.number(have) is None), default=-1)
    for at, have in enumerate(request.haves):
        name, number = have.hex().encode(), graph.number(have)
        if number is not None:
            commons.append(number)
            last = name
            if way is not Acks.ONE or len(commons) == 1:
                lines.append(b"ACK " + last + _COMMON[way])
        elif at == strange and way is not Acks.ONE and _enough(graph, wants, commons, cut):
            ready = way is Acks.DETAILED
            lines.append(b"ACK " + name + _ENOUGH[way])
    if strange < 0 and not request.done and way is Acks.DETAILED and _enough(graph, wants, commons, cut):
        ready = True
        lines.append(b"ACK " + last + _ENOUGH[way])
    sends = request.done or (ready and b"no-done" in request.options)
    if not commons or (way is not Acks.ONE and not request.done):
        lines.append(b"NAK")
    if commons and sends and way is not Acks.ONE:
        lines.append(b"ACK " + last)
    return Negotiated(_text(lines), tuple(commons), sends)


def negotiate_once(graph: Graph, request: FetchRequest, wants: Collection[int]) -> Negotiated:
    """One round of version 2: a pack follows ``done``, or no haves at all, or when we are ready."""
    known = [(have, number) for have in request.haves if (number := graph.number(have)) is not None]
    commons = tuple(number for _, number in known)
    if request.done or not request.haves:
        return Negotiated(b"", commons, bool(request.wants))
    lines = [b"acknowledgments", *(b"ACK " + have.hex().encode() for have, _ in known)]
    if not known:
        lines.append(b"NAK")
    waits = b"wait-for-done" in request.options or not request.wants
    sends = not waits and _enough(graph, wants, commons, frozenset())
    if sends:
        lines.append(b"ready")
    return Negotiated(_text(lines) + (pktlines.DELIMITER if sends else pktlines.FLUSH), commons, sends)


def _enough(graph: Graph, wants: Iterable[int], commons: Iterable[int], cut: Set[int]) -> bool:
    theirs = set(commons)
    # Also what the reader's own commits came from, as it has that with them.
    return all_reach(graph, wants, theirs.union(*(graph.parents[common] for common in theirs - cut)), cut)


def _text(lines: Iterable[bytes]) -> bytes:
    return b"".join(pktlines.line(line + b"\n") for line in lines)
