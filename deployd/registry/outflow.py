"""Bodies that are written no faster than their readers read them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

# So long a reader may take nothing of what waits for it.
PATIENCE = 30.0


@implementer(IPushProducer)
class Outflow:
    """The body of ``request``; close it before the request is finished. Who reads nothing for long is cut off.

    What waits for a reader is the transport's buffer (64 KiB) and what was written last.
    """

    def __init__(self, request: Request, clock: IReactorTime, patience: float = PATIENCE) -> None:
        self._request: Any = request
        self._clock = clock
        self._patience = patience
        self._deadline: IDelayedCall | None = None
        self._room: Deferred[None] | None = None
        request.registerProducer(self, True)

    async def write(self, data: bytes) -> None:
        """Come back once there is room for more."""
        self._request.write(data)
        if self._deadline is not None:
            self._room = Deferred()
            await self._room

    def close(self) -> None:
        self._forget_deadline()
        if self._request.producer is not self:
            return
        if self._request.channel is not None:
            self._request.unregisterProducer()
        # One whose connection is lost has no channel, and nothing to take itself off from (Note [Gone at once]).
        self._request.producer = None

    def cut_off(self) -> None:
        """End the connection in a way that nobody takes for the end of the body."""
        self._forget_deadline()
        if self._request.channel is not None:
            self._request.channel.transport.abortConnection()

    def pauseProducing(self) -> None:
        if self._deadline is None:
            self._deadline = self._clock.callLater(self._patience, self.cut_off)

    def resumeProducing(self) -> None:
        self._forget_deadline()
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """The request hears of it as well, and cancels whoever writes."""

    def _forget_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
