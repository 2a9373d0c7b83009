"""Carries a supply to a client that may be slow, or stop reading, or go.

Nothing is read before the client has taken what was read before it, so that one client costs WINDOW bytes at most,
however large the answer, and no thread and no worker. What the kernel has in memory is read at once; what it has to
bring from the disk first, in a thread. A client that takes nothing for ``stall`` seconds is disconnected.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.python.failure import Failure
from twisted.web.http import Request
from zope.interface import implementer

from deployd.git import pktlines
from deployd.git.web.pacing import Pacer
from deployd.git.web.supply import Reader, Slice, Supply

# What is on its way to one client: a frame or two that its transport holds, and what a thread has read.
WINDOW = 256 << 10
AHEAD = WINDOW // 2
# As git's own server does, so that nothing on the way thinks the connection dead.
KEEPALIVE = 5.0
NOTHING = pktlines.line(bytes([pktlines.SIDEBAND_DATA]))
_HEAD = 5
_MOST = pktlines.MAX_LINE - _HEAD

InThread = Callable[..., Deferred[Any]]


def abort(request: Request) -> None:
    """Drop the connection of ``request`` at once, if it still has one."""
    channel: Any = request.channel
    if channel is not None:
        channel.transport.abortConnection()


class ClientGone(Exception):
    """The client went away before it had everything."""


@implementer(IPushProducer)
class Stream:
    """Sends ``supply`` as the rest of the answer to ``request``, in side-band packets that a flush ends.

    ``quiet``: the client does not want to hear what may be said of it. ``in_thread`` calls a function that blocks. Made
    and used in the reactor thread.
    """

    # Where a frame is put together; one for all streams, since none holds it when it returns.
    _frame = memoryview(bytearray(pktlines.MAX_LINE))

    def __init__(
        self,
        reactor: Any,
        request: Request,
        supply: Supply,
        in_thread: InThread,
        pacer: Pacer,
        *,
        quiet: bool,
        stall: float,
    ) -> None:
        self._reactor = reactor
        self._pacer = pacer
        self._request = request
        self._supply = supply
        self._reader = Reader(supply)
        self._in_thread = in_thread
        self._quiet = quiet
        self._stall = stall
        self._paused = self._reading = self._waiting = False
        self._paused_at = 0.0
        self._gone = self._over = False
        self._read = memoryview(b"")
        self._sent: Deferred[None] = Deferred()
        self._watching: IDelayedCall | None = None
        self._keeping: IDelayedCall | None = None

    def run(self) -> Deferred[None]:
        """Fires when everything is with the client's transport.

        Fails with ClientGone, or with what the supply's problem is once all that there was of it was sent.
        """
        self._request.notifyFinish().addErrback(lambda _: self.stopProducing())
        self._keeping = self._reactor.callLater(KEEPALIVE, self._keep_alive)
        self._supply.watch(self._soon)
        self._request.registerProducer(self, True)
        self._soon()
        return self._sent

    def pauseProducing(self) -> None:
        """The client reads slower than we write."""
        self._paused, self._paused_at = True, self._reactor.seconds()
        if self._watching is None and not self._over:
            self._watching = self._reactor.callLater(self._stall, self._look)

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._soon()

    def stopProducing(self) -> None:
        """The client is gone."""
        self._gone = True
        self._settle()

    def _soon(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._pacer.admit(self._turn)

    def _turn(self) -> None:
        self._waiting = False
        self._pump()

    def _pump(self) -> None:
        while not (self._paused or self._reading or self._over or self._gone):
            frame = self._from_thread() if self._read else self._next()
            if frame is None:
                break
            self._request.write(frame)
        self._settle()

    def _next(self) -> bytes | None:
        """The next frame, if it can be had at once; else it is being read in a thread, or there is none yet."""
        piece = self._reader.next(_MOST)
        if piece is None:
            return None
        if isinstance(piece, bytes):
            self._reader.advance(len(piece))
            return _heading(len(piece)) + piece
        most = _HEAD + piece.end - piece.start
        try:
            size = os.preadv(piece.file, [self._frame[_HEAD:most]], piece.start, os.RWF_NOWAIT)
        except OSError:
            # Not in memory, or a file system that cannot tell.
            size = 0
        if not size:
            self._read_in_thread()
            return None
        self._reader.advance(size)
        self._frame[:_HEAD] = _heading(size)
        return bytes(self._frame[: _HEAD + size])

    def _read_in_thread(self) -> None:
        piece = self._reader.next(AHEAD)
        assert isinstance(piece, Slice)
        self._reading = True
        self._in_thread(_read, piece).addBoth(self._was_read)

    def _was_read(self, data: bytes | Failure) -> None:
        self._reading = False
        if isinstance(data, Failure) or not data:
            # Nothing but a defect of the disk can do that; the client must not take what it has for all.
            self._supply.unwatch(self._soon)
            self._supply = Supply(ended=True, problem=OSError("a pack cannot be read"))
            self._reader = Reader(self._supply)
        else:
            self._reader.advance(len(data))
            self._read = memoryview(data)
        self._pump()

    def _from_thread(self) -> bytes:
        data, self._read = self._read[:_MOST], self._read[_MOST:]
        return b"".join((_heading(len(data)), data))

    def _settle(self) -> None:
        if self._over or self._reading:
            return
        if self._gone:
            self._conclude(Failure(ClientGone()))
        elif not self._paused and not self._read and self._supply.ended and self._reader.next(1) is None:
            if self._supply.problem is not None:
                self._conclude(Failure(self._supply.problem))
            else:
                remarks = [] if self._quiet else self._supply.remarks
                said = b"".join(pktlines.sideband(pktlines.SIDEBAND_PROGRESS, b"%b\n" % r.encode()) for r in remarks)
                self._request.write(said + pktlines.FLUSH)
                self._conclude(None)

    def _conclude(self, problem: Failure | None) -> None:
        self._over = True
        self._supply.unwatch(self._soon)
        for call in (self._watching, self._keeping):
            if call is not None and call.active():
                call.cancel()
        if not self._gone:
            self._request.unregisterProducer()
        if problem is None:
            self._sent.callback(None)
        else:
            self._sent.errback(problem)

    def _look(self) -> None:
        self._watching = None
        left = self._paused_at + self._stall - self._reactor.seconds()
        if self._paused and left <= 0:
            abort(self._request)
        elif self._paused:
            # One call a minute is cheaper than one a pause.
            self._watching = self._reactor.callLater(left, self._look)

    def _keep_alive(self) -> None:
        self._keeping = self._reactor.callLater(KEEPALIVE, self._keep_alive)
        if not self._paused:
            self._request.write(NOTHING)


def _read(piece: Slice) -> bytes:
    # The disk goes on while the client reads.
    os.posix_fadvise(piece.file, piece.end, 8 * AHEAD, os.POSIX_FADV_WILLNEED)
    return os.pread(piece.file, piece.end - piece.start, piece.start)


def _heading(size: int) -> bytes:
    """What precedes ``size`` bytes of a pack in a frame."""
    return b"%04x\x01" % (size + _HEAD)
