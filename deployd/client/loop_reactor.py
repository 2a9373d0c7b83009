"""A reactor on somebody else's asyncio loop: it is not installed, and leaves the loop as it was.

Note [A reactor of the client's own]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Twisted's asyncio reactor wants to be the only one of its process and to own its loop, which it stops at its end. This
one is for the connections of a client alone. Everything of Twisted that the client uses is given its reactor, so none
has to be installed, and several may be there, one after the other or on loops in several threads. Names are looked up
by the loop, so that no thread pool is there to be waited for at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from socket import SOCK_STREAM
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.posixbase import PosixReactorBase
from zope.interface import implementer


class LoopReactor(AsyncioSelectorReactor):
    """Runs from ``begin`` to ``end``, on a loop that runs anyway."""

    # It is not the reactor of this thread, and may be on any.
    _registerAsIOThread = False

    def begin(self) -> None:
        self.installNameResolver(_LoopResolver(self._asyncioEventloop))
        self.startRunning(installSignalHandlers=False)

    def end(self) -> None:
        """Close what is open; nothing of it is left on the loop."""
        self.fireSystemEvent("shutdown")
        self.disconnectAll()
        for call in self.getDelayedCalls():
            call.cancel()
        if self._timerHandle is not None:
            self._timerHandle.cancel()
        for reader in list(self._internalReaders):
            self.removeReader(reader)
            reader.connectionLost(None)
        self._internalReaders.clear()

    def crash(self) -> None:
        """The end of this reactor is not the loop's."""
        PosixReactorBase.crash(self)


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """The loop asks to the end; nobody listens."""


@implementer(IHostnameResolver)
class _LoopResolver:
    """Asks the loop, which has threads of its own for that."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asking: set[asyncio.Task[None]] = set()

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[Any]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        task = self._loop.create_task(self._ask(resolutionReceiver, hostName, portNumber))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return resolution

    async def _ask(self, receiver: IResolutionReceiver, host: str, port: int) -> None:
        try:
            found = await self._loop.getaddrinfo(host, port, type=SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        for _, _, _, _, where in found:
            kind = IPv6Address if len(where) == 4 else IPv4Address
            receiver.addressResolved(kind("TCP", *where))
        receiver.resolutionComplete()
