"""Lines for a pusher who waits, for as long as something goes on: git shows each behind ``remote:`` as it comes.

Whoever speaks is never held up. A pusher who reads slower than lines come has LINES of them waiting, of which the
oldest go; one that takes nothing for ``stall`` seconds is disconnected; one that leaves is only told nothing more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.http import Request
from zope.interface import implementer

from deployd.git import pktlines
from deployd.git.receiving.receipt import Receipt
from deployd.git.web.streaming import KEEPALIVE, NOTHING, abort

LINES = 300
MAX_LINE = 1000


@implementer(IPushProducer)
@define(eq=False)
class Voice:
    """Made, used and ended in the reactor thread, after the report of ``receipt`` was written to ``request``.

    ``left`` is called when the pusher is gone.
    """

    clock: IReactorTime
    request: Request
    receipt: Receipt
    stall: float
    left: Callable[[], object] = lambda: None
    gone: bool = field(init=False, default=False)
    _waiting: deque[str] = field(init=False, factory=deque)
    _progress: str = field(init=False, default="")
    _left_out: int = field(init=False, default=0)
    _paused: bool = field(init=False, default=False)
    _ended: Deferred[None] | None = field(init=False, default=None)
    _deadline: IDelayedCall | None = field(init=False, default=None)
    _keepalive: IDelayedCall | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.request.notifyFinish().addErrback(lambda _: self.stopProducing())
        self._keepalive = self.clock.callLater(KEEPALIVE, self._keep_alive)
        self.request.registerProducer(self, True)

    def say(self, line: str) -> None:
        """Send ``line`` as soon as the pusher takes it."""
        if self.gone:
            return
        self._waiting.append(line if len(line) <= MAX_LINE else line[: MAX_LINE - 3] + "...")
        if len(self._waiting) > LINES:
            self._waiting.popleft()
            self._left_out += 1
        self._drain()

    def show(self, progress: str) -> None:
        """Send a text that ends as git's progress does; of several that wait, the newest."""
        if self.gone:
            return
        self._progress = progress
        self._drain()

    def end(self) -> Deferred[None]:
        """Fires when everything is with the pusher, or the pusher gone."""
        self._ended = Deferred()
        ended = self._ended
        self._settle()
        return ended

    def pauseProducing(self) -> None:
        """The pusher reads slower than we write."""
        self._paused = True
        if self._deadline is None:
            self._deadline = self.clock.callLater(self.stall, self._stalled)

    def resumeProducing(self) -> None:
        """The pusher has caught up."""
        self._paused = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._drain()

    def stopProducing(self) -> None:
        """The pusher is gone."""
        if self.gone:
            return
        self.gone = True
        self._waiting.clear()
        self._forget_calls()
        self.left()
        self._settle()

    def _drain(self) -> None:
        if self._progress and not self._paused:
            progress, self._progress = self._progress, ""
            self.request.write(pktlines.sideband(pktlines.SIDEBAND_PROGRESS, progress.encode()))
        if self._left_out and not self._paused:
            left_out, self._left_out = self._left_out, 0
            self.request.write(self.receipt.remark(f"deployd: {left_out} lines before this were left out"))
        while self._waiting and not self._paused:
            self.request.write(self.receipt.remark(self._waiting.popleft()))
        self._settle()

    def _settle(self) -> None:
        if self._ended is None or (self._waiting and not self.gone):
            return
        ended, self._ended = self._ended, None
        self._forget_calls()
        if not self.gone:
            self.request.unregisterProducer()
        ended.callback(None)

    def _keep_alive(self) -> None:
        self._keepalive = self.clock.callLater(KEEPALIVE, self._keep_alive)
        if not self._paused:
            self.request.write(NOTHING)

    def _stalled(self) -> None:
        self._deadline = None
        abort(self.request)

    def _forget_calls(self) -> None:
        for call in (self._deadline, self._keepalive):
            if call is not None and call.active():
                call.cancel()
        self._deadline = self._keepalive = None
