"""Telling what the router has counted: every few seconds, what has changed since it was told last."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.model.route import Tally
from deployd.net.peer import CALL_TIMEOUT, Peer
from deployd.wire.paging import pages
from deployd.wire.routing import Count

EVERY = 2.0

Read = Callable[[int], tuple[int, tuple[Tally, ...]]]


class Counting:
    """``read`` gives the number of this reading, and what has changed since the reading of a number (0: everything)."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, read: Read) -> None:
        self._clock = clock
        self._read = read
        self._timer: IDelayedCall | None = None
        # The last reading that has arrived in the present session.
        self._told = 0

    def attach(self, peer: Peer) -> None:
        """Tell ``peer`` from now on; it knows nothing yet."""
        self.detach()
        self._told = 0
        self._later(peer)

    def detach(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def last(self, peer: Peer, timeout: float) -> None:
        """Tell what is left; raise a DeploydError."""
        await self._tell(peer, timeout)

    def _later(self, peer: Peer) -> None:
        self._timer = self._clock.callLater(EVERY, self._count, peer)

    def _count(self, peer: Peer) -> None:
        self._timer = None
        telling = Deferred.fromCoroutine(self._tell(peer, CALL_TIMEOUT))
        telling.addErrback(self._failed).addCallback(lambda _: self._go_on(peer))

    def _go_on(self, peer: Peer) -> None:
        # Whoever has been attached meanwhile has a timer of its own.
        if not peer.is_closed and self._timer is None:
            self._later(peer)

    async def _tell(self, peer: Peer, timeout: float) -> None:
        number, tallies = self._read(self._told)
        for page in pages(tallies) if tallies else []:
            await peer.call(Count, timeout=timeout, tallies=page)
        self._told = number

    def _failed(self, failure: Failure) -> None:
        if failure.check(DeploydError):
            self._log.debug("not counted: {error}", error=failure.value)
        else:
            self._log.failure("while counting", failure=failure)
