"""Carries a response from a worker thread to a client that may be slow, or stop reading, or go.

The thread may run WINDOW bytes ahead of the client, then it waits. A client that takes nothing for ``stall`` seconds is
disconnected; the thread then gets ClientGone at its next write, so that no thread is ever held for ever.
"""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

WINDOW = 256 << 10


def abort(request: Request) -> None:
    """Drop the connection of ``request`` at once, if it still has one."""
    channel: Any = request.channel
    if channel is not None:
        channel.transport.abortConnection()


class ClientGone(Exception):
    """The client went away before it had everything."""


@implementer(IPushProducer)
@define(eq=False)
class Outlet:
    """Made, and finished, in the reactor thread; ``write`` is for the one worker thread."""

    reactor: Any
    request: Request
    stall: float
    started: bool = field(init=False, default=False)
    _pieces: deque[bytes] = field(init=False, factory=deque)
    _paused: bool = field(init=False, default=False)
    _ended: Deferred[None] | None = field(init=False, default=None)
    _deadline: IDelayedCall | None = field(init=False, default=None)
    _flow: Condition = field(init=False, factory=Condition)
    _ahead: int = field(init=False, default=0)
    _gone: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.request.notifyFinish().addErrback(lambda _: self.stopProducing())
        self.request.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send ``data`` on; wait while the client is behind. Raise ClientGone when it left."""
        with self._flow:
            while self._ahead >= WINDOW and not self._gone:
                self._flow.wait()
            if self._gone:
                raise ClientGone
            self._ahead += len(data)
        self.reactor.callFromThread(self._arrived, data)

    def end(self) -> Deferred[None]:
        """Called once the thread has returned: fires when everything is with the client, or the client gone."""
        self._ended = Deferred()
        ended = self._ended
        self._settle()
        return ended

    def pauseProducing(self) -> None:
        """The client reads slower than we write."""
        self._paused = True
        self._forget_deadline()
        self._deadline = self.reactor.callLater(self.stall, self._stalled)

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._forget_deadline()
        self._drain()

    def stopProducing(self) -> None:
        """The client is gone; whoever waits must learn it."""
        self._forget_deadline()
        with self._flow:
            self._gone = True
            self._pieces.clear()
            self._flow.notify_all()
        self._settle()

    def _arrived(self, data: bytes) -> None:
        if not self._gone:
            self.started = True
            self._pieces.append(data)
            self._drain()

    def _drain(self) -> None:
        while self._pieces and not self._paused:
            piece = self._pieces.popleft()
            self.request.write(piece)
            with self._flow:
                self._ahead -= len(piece)
                self._flow.notify_all()
        self._settle()

    def _settle(self) -> None:
        if self._ended is None or (self._pieces and not self._gone):
            return
        ended, self._ended = self._ended, None
        self._forget_deadline()
        if not self._gone:
            self.request.unregisterProducer()
        ended.callback(None)

    def _stalled(self) -> None:
        self._deadline = None
        abort(self.request)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
