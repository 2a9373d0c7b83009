"""Telling the hub what runs here: the whole state, one report in flight, the newest one wins."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd.errors import DeploydError
from deployd.model.instance import ObservedInstance
from deployd.model.revision import Revision
from deployd.net.peer import Peer
from deployd.wire.fleet import Report
from deployd.wire.paging import pages

RETRY = 1.0
PAUSE = 0.0005
"""Seconds between two reports, for each instance: who has many would else do little but report each that changes."""

Observe = Callable[[], tuple[Revision, tuple[ObservedInstance, ...]]]


class Reporting:
    """``observe`` gives the newest assignment's revision and the state of every instance."""

    def __init__(self, clock: IReactorTime, observe: Observe) -> None:
        self._clock = clock
        self._observe = observe
        self._session: _Session | None = None

    async def attach(self, peer: Peer) -> None:
        """Report to ``peer`` now, and whenever something changes until it is gone; raise a DeploydError."""
        session = self._session = _Session(self._clock, self._observe, peer)
        await session.begin()

    def changed(self) -> None:
        """What ``observe`` gives may be something else now."""
        if self._session is not None:
            self._session.changed()


class _Session:
    """Reports to one peer. ``_stale``: something has changed since the last report was begun."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, observe: Observe, peer: Peer) -> None:
        self._clock = clock
        self._observe = observe
        self._peer = peer
        self._stale = False
        self._busy = True

    async def begin(self) -> None:
        await self._report()
        self._busy = False
        self._go_on()

    def changed(self) -> None:
        self._stale = True
        self._go_on()

    def _go_on(self) -> None:
        if self._stale and not self._busy and not self._peer.is_closed:
            self._busy = True
            # In the reactor's next turn, as changes come in groups.
            sending = deferLater(self._clock, 0).addCallback(lambda _: Deferred.fromCoroutine(self._send()))
            sending.addErrback(lambda failure: self._log.failure("while reporting", failure=failure))

    async def _send(self) -> None:
        while self._stale and not self._peer.is_closed:
            self._stale = False
            try:
                reported = await self._report()
            except DeploydError as error:
                self._stale = True
                self._log.info("the hub did not take a report: {error}", error=error)
                await deferLater(self._clock, RETRY)
                continue
            await deferLater(self._clock, PAUSE * reported)
        self._busy = False

    async def _report(self) -> int:
        revision, instances = self._observe()
        parts = pages(instances)
        for part, page in enumerate(parts):
            await self._peer.call(Report, assignment=revision, part=part, parts=len(parts), instances=page)
        return len(instances)
