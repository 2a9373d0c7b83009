"""``ls-refs`` of protocol version 2: the refs whose names begin as the reader says."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import Self

from attrs import frozen

from deployd.git import pktlines
from deployd.git.problems import BadRequest
from deployd.git.serving.offers import Offer

_PREFIX = b"ref-prefix "
_TOO_MANY = 65536
_MANY = 64


@frozen
class RefQuery:
    """Which refs are asked for, and what of each. Without ``prefixes`` it is all of them.

    ``prefixes`` are in order, and none begins with another.
    """

    prefixes: tuple[bytes, ...] = ()
    peel: bool = False
    symrefs: bool = False
    unborn: bool = False

    @classmethod
    def parse(cls, arguments: Iterable[bytes]) -> Self:
        """From the lines after the command; raise BadRequest for one that is not ls-refs's.

        Very many prefixes are as good as none, as with C git: they only save the reader lines that it ignores.
        """
        prefixes, words = set[bytes](), set[bytes]()
        for argument in arguments:
            if argument.startswith(_PREFIX):
                prefixes.add(argument[len(_PREFIX) :])
            elif argument in (b"peel", b"symrefs", b"unborn"):
                words.add(argument)
            else:
                raise BadRequest("the request has a line that is not part of ls-refs")
        shortest = _shortest(prefixes) if len(prefixes) < _TOO_MANY else ()
        return cls(shortest, b"peel" in words, b"symrefs" in words, b"unborn" in words)

    def covers(self, name: bytes) -> bool:
        """Whether the ref ``name`` is asked for."""
        at = bisect(self.prefixes, name)
        return not self.prefixes or (at > 0 and name.startswith(self.prefixes[at - 1]))


def list_refs(offer: Offer, query: RefQuery) -> bytes:
    """The answer to ``query``."""

    def make() -> bytes:
        return b"".join(_lines(offer, query)) + pktlines.FLUSH

    return offer.answer(query, make) if len(query.prefixes) < _MANY else make()


def _shortest(prefixes: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those that say it all, in order: a name that begins with any of the others begins with one of these."""
    shortest = list[bytes]()
    for prefix in sorted(prefixes):
        if not shortest or not prefix.startswith(shortest[-1]):
            shortest.append(prefix)
    return tuple(shortest)


def _lines(offer: Offer, query: RefQuery) -> Iterator[bytes]:
    yield from _head(offer, query)
    for name, value in offer.refs:
        if query.covers(name):
            line = value + b" " + name
            if query.peel and name in offer.peeled:
                line += b" peeled:" + offer.peeled[name]
            yield pktlines.line(line + b"\n")


def _head(offer: Offer, query: RefQuery) -> Iterator[bytes]:
    if not query.covers(b"HEAD"):
        return
    target = b" symref-target:" + offer.head if query.symrefs else b""
    if b"HEAD" in offer.values:
        yield pktlines.line(offer.values[b"HEAD"] + b" HEAD" + target + b"\n")
    elif query.unborn and query.symrefs:
        yield pktlines.line(b"unborn HEAD" + target + b"\n")
