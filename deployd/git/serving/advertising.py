"""What git is told first, at ``info/refs``: every ref and what may be asked for, or in version 2 only the latter."""

from __future__ import annotations

from collections.abc import Iterable

from deployd import __version__
from deployd.git import pktlines
from deployd.git.serving.offers import Offer

UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"
AGENT = b"agent=deployd/" + __version__.encode()
_NO_REFS = (b"capabilities^{}", pktlines.ZERO)
_PUSH_WORDS = (
    b"report-status report-status-v2 delete-refs atomic quiet ofs-delta side-band-64k push-options object-format=sha1 "
    + AGENT
)
_WORDS = (
    b"multi_ack thin-pack side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative no-progress "
    b"include-tag multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want no-done filter "
    b"object-format=sha1 " + AGENT
)
_VERSION_2 = (
    b"version 2\n",
    AGENT + b"\n",
    b"ls-refs=unborn\n",
    b"fetch=shallow wait-for-done filter\n",
    b"object-format=sha1\n",
)


def advertise(offer: Offer | None, service: str, version: int) -> bytes:
    """The answer to ``info/refs``; ``offer`` None stands for a repository that the first push will create.

    ``version`` is the highest that the client speaks; there is no version 2 of pushing.
    """
    if version >= 2 and service == UPLOAD:
        return b"".join(map(pktlines.line, _VERSION_2)) + pktlines.FLUSH
    greeting = pktlines.line(b"# service=" + service.encode() + b"\n") + pktlines.FLUSH
    if version == 1:
        greeting += pktlines.line(b"version 1\n")
    if offer is None:
        return greeting + _listed([_NO_REFS], _PUSH_WORDS if service == RECEIVE else _WORDS)
    known = offer
    return greeting + known.answer((service, 0), lambda: _pushable(known) if service == RECEIVE else _fetchable(known))


def _pushable(offer: Offer) -> bytes:
    return _listed(offer.refs or [_NO_REFS], _PUSH_WORDS)


def _fetchable(offer: Offer) -> bytes:
    words, refs = _WORDS, list[tuple[bytes, bytes]]()
    if b"HEAD" in offer.values:
        # HEAD's symref only: a second one makes git clients before 2.41 spin for ever.
        words += b" symref=HEAD:" + offer.head
        refs.append((b"HEAD", offer.values[b"HEAD"]))
    for name, value in offer.refs:
        refs.append((name, value))
        if name in offer.peeled:
            refs.append((name + b"^{}", offer.peeled[name]))
    return _listed(refs or [_NO_REFS], words)


def _listed(refs: Iterable[tuple[bytes, bytes]], words: bytes) -> bytes:
    """Refs as pkt-lines, the first with the capabilities."""
    lines = [value + b" " + name for name, value in refs]
    lines[0] += b"\0" + words
    return b"".join([pktlines.line(line + b"\n") for line in lines]) + pktlines.FLUSH
