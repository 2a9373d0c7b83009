"""What a reader hears about the commits that it has: which of them are here, and whether that is enough to go on.

A commit of a reader is common when it is here. It is enough when every commit that it wants leads to a common one, or
to a parent of one: then nothing that it might say more would make the pack much smaller.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from deployd.git import pktlines
from deployd.git.packs.graph import Graph
from deployd.git.serving.ancestry import all_reach
from deployd.git.serving.request import Acks, FetchRequest


@frozen
class Negotiated:
    """``reply``: what is said; ``commons``: commits by number; ``sends``: whether a pack follows."""

    reply: bytes
    commons: tuple[int, ...]
    sends: bool


def negotiate(graph: Graph, request: FetchRequest, wants: Iterable[int]) -> Negotiated:
    """One round of version 0. As with C git, a pack follows ``done``, or a client that can do without it, once we are
    ready."""
    way, last = request.acks, b""
    lines, commons = list[bytes](), list[int]()
    for have in request.haves:
        number = graph.number(have)
        if number is not None:
            commons.append(number)
            last = have.hex().encode()
            if way is not Acks.ONE or len(commons) == 1:
                lines.append(b"ACK " + last + _HOW[way])
    sends = request.done
    if not sends and way is Acks.DETAILED and _enough(graph, wants, commons):
        lines.append(b"ACK " + last + b" ready")
        sends = b"no-done" in request.options
    if not commons or (way is not Acks.ONE and not request.done):
        lines.append(b"NAK")
    if commons and sends and way is not Acks.ONE:
        lines.append(b"ACK " + last)
    return Negotiated(_text(lines), tuple(commons), sends)


def negotiate_once(graph: Graph, request: FetchRequest, wants: Iterable[int]) -> Negotiated:
    """One round of version 2: a pack follows ``done``, or no haves at all, or when we are ready."""
    known = [(have, number) for have in request.haves if (number := graph.number(have)) is not None]
    commons = tuple(number for _, number in known)
    if request.done or not request.haves:
        return Negotiated(b"", commons, bool(request.wants))
    lines = [b"acknowledgments", *(b"ACK " + have.hex().encode() for have, _ in known)]
    if not known:
        lines.append(b"NAK")
    waits = b"wait-for-done" in request.options or not request.wants
    sends = not waits and _enough(graph, wants, commons)
    if sends:
        lines.append(b"ready")
    return Negotiated(_text(lines) + (pktlines.DELIMITER if sends else pktlines.FLUSH), commons, sends)


_HOW = {Acks.ONE: b"", Acks.MULTI: b" continue", Acks.DETAILED: b" common"}


def _enough(graph: Graph, wants: Iterable[int], commons: Iterable[int]) -> bool:
    theirs = set(commons)
    return all_reach(graph, wants, theirs.union(*(graph.parents[common] for common in theirs)))


def _text(lines: Iterable[bytes]) -> bytes:
    return b"".join(pktlines.line(line + b"\n") for line in lines)
