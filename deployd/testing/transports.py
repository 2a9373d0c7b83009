"""iosim transports that know ``abortConnection`` and producers as a TCP transport does."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.test.iosim import FakeTransport


class _Transport(FakeTransport):
    paused = False

    def abortConnection(self) -> None:
        self.loseConnection()

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


def transport(protocol: Any, server: bool) -> Any:
    """A fake transport for ``protocol``, at loopback addresses."""
    here, there = IPv4Address("TCP", "127.0.0.1", 6001), IPv4Address("TCP", "127.0.0.1", 40000)
    if not server:
        here, there = there, here
    return _Transport(protocol, server, hostAddress=here, peerAddress=there)
