"""Telling the hub where the router stands: one report in flight, the newest one wins.

Note [Soon enough]
~~~~~~~~~~~~~~~~~~
Rows may change many times a second, and each change is a new revision. Somebody waits for it only while something is
leaving or retiring, or after the table changed; else the hub hears of it once a second.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.model.router import Standing
from deployd.net.peer import Peer
from deployd.wire.routing import Stand

# Seconds between a change and its report: changes come in groups.
SOON = 0.02
CALM = 1.0
RETRY = 1.0


class Standings:
    """``standing`` gives what to report, ``urgent`` whether somebody waits for it."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, standing: Callable[[], Standing], urgent: Callable[[], bool]) -> None:
        self._clock = clock
        self._standing = standing
        self._urgent = urgent
        self._peer: Peer | None = None
        self._timer: IDelayedCall | None = None
        self._in_flight = False
        self._said: Standing | None = None

    def attach(self, peer: Peer) -> None:
        """Report to ``peer`` from now on, what it has been told before or not."""
        if self._peer is not peer:
            self.detach()
            self._peer = peer
        self.changed()

    def detach(self) -> None:
        self._peer, self._said, self._in_flight = None, None, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def changed(self) -> None:
        """What ``standing`` gives may be something else now."""
        if self._peer is None or self._in_flight:
            return
        delay = SOON if self._is_urgent() else CALM
        if self._timer is not None and self._timer.getTime() - self._clock.seconds() > delay:
            self._timer.reset(delay)
        elif self._timer is None:
            self._timer = self._clock.callLater(delay, self._send)

    def _is_urgent(self) -> bool:
        return self._said is None or self._urgent() or self._said.table != self._standing().table

    def _send(self) -> None:
        self._timer = None
        peer, standing = self._peer, self._standing()
        if peer is None or standing == self._said:
            return
        self._in_flight = True
        sending: Deferred[None] = peer.call(Stand, standing=standing)
        sending.addCallbacks(self._sent, self._not_sent, (peer, standing), {}, (peer,))
        sending.addErrback(lambda failure: self._log.failure("while saying where we stand", failure=failure))

    def _sent(self, _: object, peer: Peer, standing: Standing) -> None:
        if peer is self._peer:
            self._said, self._in_flight = standing, False
            if self._standing() != standing:
                self.changed()

    def _not_sent(self, failure: Failure, peer: Peer) -> None:
        failure.trap(DeploydError)
        if peer is self._peer:
            self._in_flight = False
            self._log.info("the hub did not hear where we stand: {error}", error=failure.value)
            self._timer = self._clock.callLater(RETRY, self._send)
