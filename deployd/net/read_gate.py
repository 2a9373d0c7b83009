"""Whether anything is read from a peer."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


class Readable(Protocol):
    """A connection that can be left unread for a while."""

    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


@implementer(IPushProducer)
class ReadGate:
    """Stops reading from a peer, and answering what was read, while there is a reason to.

    One is that it does not read what it asked for.
    """

    def __init__(self, peer: Readable) -> None:
        self._peer = peer
        self._reasons: set[str] = set()

    def shut(self, reason: str) -> None:
        if not self._reasons:
            self._peer.pauseProducing()
        self._reasons.add(reason)

    def open(self, reason: str) -> None:
        if reason not in self._reasons:
            return
        self._reasons.discard(reason)
        if not self._reasons:
            # It may be shut again at once.
            self._peer.resumeProducing()

    def pauseProducing(self) -> None:
        self.shut("unread")

    def resumeProducing(self) -> None:
        self.open("unread")

    def stopProducing(self) -> None:
        """The connection is gone; nothing is left to stop."""
