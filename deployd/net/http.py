"""HTTP connections that cost little whoever talks.

Note [What twisted.web leaves open]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
twisted.web starts its timeout anew with each byte, so a head may trickle in for ever; it takes any number of
connections; and it answers all requests that came in one read before it looks whether the client reads the answers:
64 KiB of small requests for something large would fill the memory and hold the reactor. So here a head has its time as
a whole, connections are counted, and the next request is looked at once the last answer is with the client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Site

MAX_CONNECTIONS = 6000

CONNECTION_DONE = Failure(ConnectionDone())


class BoundedChannel(HTTPChannel):
    """One connection; the time for a request's head to arrive is bounded. Bodies are for the request to bound."""

    transport: Any
    factory: Any
    _in_body = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.channels.add(self)

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def resetTimeout(self) -> None:
        if self._in_body:
            super().resetTimeout()

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        self._in_body = self.length != 0

    def allContentReceived(self) -> None:
        self._in_body = False
        super().allContentReceived()

    def pauseProducing(self) -> None:
        self.paused = True
        super().pauseProducing()
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        super().resumeProducing()
        if not self.transport.disconnecting:
            self.transport.resumeProducing()
            # What was read already is not announced again.
            self.dataReceived(b"")


class BoundedSite(Site):
    """More than ``limit`` connections are closed at once. Mix it in before a Site that has more to say."""

    noisy = False
    protocol: Any = BoundedChannel
    limit = MAX_CONNECTIONS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.channels: set[BoundedChannel] = set()

    def startFactory(self) -> None:
        """No access log, and so no clock for its lines."""

    def stopFactory(self) -> None:
        """Nothing was started."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return None if len(self.channels) >= self.limit else super().buildProtocol(addr)

    def close_all(self) -> None:
        for channel in list(self.channels):
            channel.transport.loseConnection()

    def abort_all(self) -> None:
        """Let nobody finish: threads that wait for a client to read end then."""
        for channel in list(self.channels):
            channel.transport.abortConnection()
