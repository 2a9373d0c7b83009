"""One worker process as the main process sees it."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import Tally
from deployd.model.router import Standing, TableItem
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.router.row_fields import row_pages
from deployd.router.sums import Counted
from deployd.router.table import Snapshot
from deployd.wire.paging import pages
from deployd.wire.routing import Count, Follow, Stand
from deployd.wire.workers import FeedRows, Finish, Forbid, Gauge, Gauges, Serve

NEVER = Revision("", 0)
MAX_QUEUE = 2000
MAX_GONE = 300
MAX_LINE = 4000
# A worker that is silent, or does not answer, for as long is stuck.
HEARTBEAT, SILENCE = 5.0, 60.0

# Starts a worker process whose descriptor 3 is the one given; what it prints and its end go to the protocol.
Spawn = Callable[[ProcessProtocol, int], None]
# One message; the last of those of one update has who waits for it.
_Message = tuple[type[Command], dict[str, Any]]


class WorkerLink:
    """``counted`` takes its tallies; ``changed``: it stands elsewhere, or has begun or ceased to serve."""

    _log = Logger()

    def __init__(self, reactor: Any, spawn: Spawn, counted: Counted, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._spawn = spawn
        self.counted = counted
        self.changed = changed
        self.standing = Standing(NEVER, NEVER)
        self.gauge = Gauge()
        # It may have requests; it is known to have begun.
        self.counts = self.serves = False
        self.started = reactor.seconds()
        self.end = "ended"
        self._queue: deque[tuple[Callable[[], Iterable[_Message]], Deferred[None]]] = deque()
        self._peer: Peer | None = None
        self._sending = False
        self._finishing = False
        self._gone: list[Deferred[None]] | None = []
        self._process = _Process(self)

    def start(self) -> None:
        try:
            self._peer = peer = self._launched()
        except OSError as error:
            # The machine has no process or descriptor left: another one is tried, as after one that died at once.
            self.is_gone(f"could not be started ({error.strerror or error})")
            return
        peer.established(_Reports(self), HEARTBEAT, SILENCE)
        peer.when_closed().addCallback(lambda _: self._cut())
        self._go_on()

    def _launched(self) -> Peer:
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            self._spawn(self._process, theirs.fileno())
            return adopted(self._reactor, ours, Peer(self._reactor))
        finally:
            ours.close()
            theirs.close()

    # What it is told.

    def feed(self, snapshot: Snapshot) -> None:
        """Tell it everything."""
        self.follow(snapshot.table, snapshot.items, whole=True)
        self.change_rows(snapshot.rows, (), snapshot.registry)

    def follow(self, revision: Revision, items: tuple[TableItem, ...], whole: bool) -> Deferred[None]:
        """Fires once it follows, or is gone."""

        def messages() -> Iterable[_Message]:
            parts = pages(items)
            for part, page in enumerate(parts):
                base = 0 if whole else 1
                yield (
                    Follow,
                    {"revision": revision, "base": base, "part": part, "parts": len(parts), "items": page},
                )

        return self._tell(messages)

    def change_rows(self, put: tuple[Registration, ...], gone: tuple[str, ...], revision: Revision) -> None:
        def messages() -> Iterable[_Message]:
            for start in range(0, len(gone), MAX_GONE):
                yield FeedRows, {"rows": [], "gone": gone[start : start + MAX_GONE], "revision": NEVER}
            for page in row_pages(put):
                yield FeedRows, {"rows": page, "gone": [], "revision": NEVER}
            yield FeedRows, {"rows": [], "gone": [], "revision": revision}

        self._tell(messages)

    def forbid(self, addresses: list[tuple[str, int]]) -> None:
        self._tell(lambda: [(Forbid, {"addresses": addresses})])

    def finish(self) -> Deferred[None]:
        """Let it take no new connections; fires when it does not."""
        self._finishing = True
        if self._peer is None:
            return succeed(None)
        done: Deferred[Any] = self._peer.call(Finish)
        return done.addErrback(lambda failure: self.kill(f"does not finish: {failure.value}"))

    def kill(self, why: str) -> None:
        if self._gone is not None and self._process.transport is not None:
            if not self._finishing:
                self._log.error("a worker {why}; killing it", why=why)
            try:
                self._process.transport.signalProcess("KILL")
            except ProcessExitedAlready:
                return

    def _cut(self) -> None:
        # One that finishes hangs up last.
        if not self._finishing:
            self.kill("lost its connection to the main process")

    def when_gone(self) -> Deferred[None]:
        if self._gone is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._gone.append(waiter)
        return waiter

    def _tell(self, messages: Callable[[], Iterable[_Message]]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self._gone is None:
            return succeed(None)
        if len(self._queue) >= MAX_QUEUE:
            self.kill("falls behind")
        self._queue.append((messages, done))
        self._go_on()
        return done

    def _go_on(self) -> None:
        if self._peer is None or self._sending or self._gone is None:
            return
        self._sending = True
        sending = Deferred.fromCoroutine(self._send(self._peer))
        sending.addErrback(self._failed)

    async def _send(self, peer: Peer) -> None:
        while self._queue:
            messages, done = self._queue[0]
            for command, arguments in messages():
                await peer.call(command, SILENCE, **arguments)
            self._queue.popleft()
            done.callback(None)
            if not self._queue and not self.counts and not self._finishing:
                self.counts = True
                await peer.call(Serve, SILENCE)
                self.serves = True
                self.changed()
        self._sending = False

    def _failed(self, failure: Failure) -> None:
        if not failure.check(DeploydError):
            self._log.failure("while telling a worker", failure=failure)
        if not (self._peer is not None and self._peer.is_closed):
            self.kill(f"failed at what it was told: {failure.value}")

    # What it says.

    def stands(self, standing: Standing) -> None:
        self.standing = standing
        self.changed()

    def said(self, line: str) -> None:
        self._log.info("worker {pid}: {line}", pid=self._process.pid, line=line)

    def is_gone(self, end: str) -> None:
        """The process has ended."""
        waiters, self._gone = self._gone or [], None
        self.end, self.counts, self.serves = end, False, False
        queue, self._queue = self._queue, deque()
        if self._peer is not None and not self._peer.is_closed:
            self._peer.transport.abortConnection()
        for _, done in queue:
            done.callback(None)
        for waiter in waiters:
            waiter.callback(None)


class _Reports(Conversation):
    def __init__(self, link: WorkerLink) -> None:
        super().__init__()
        self._link = link

    @responder(Stand)
    def stand(self, standing: Standing) -> dict[str, Any]:
        self._link.stands(standing)
        return {}

    @responder(Count)
    def count(self, tallies: tuple[Tally, ...]) -> dict[str, Any]:
        self._link.counted.take(tallies)
        return {}

    @responder(Gauges)
    def gauges(self, gauge: Gauge) -> dict[str, Any]:
        self._link.gauge = gauge
        return {}


class _Process(ProcessProtocol):
    """Its stderr, line by line, and its end."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._said = b""
        self.pid = 0

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.pid = transport.pid

    def errReceived(self, data: bytes) -> None:
        *lines, self._said = (self._said + data).split(b"\n")
        self._said = self._said[-MAX_LINE:]
        for line in lines:
            self._link.said(line[:MAX_LINE].decode(errors="replace"))

    def processExited(self, reason: Failure) -> None:
        error: Any = reason.value
        signal = getattr(error, "signal", None)
        self._link.is_gone(f"was ended by signal {signal}" if signal else f"exited with code {error.exitCode}")


def adopted(reactor: Any, connection: socket.socket, protocol: Peer) -> Peer:
    """``protocol`` on a connected socket; the socket stays the caller's."""
    factory: Factory[Any] = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    reactor.adoptStreamConnection(connection.fileno(), connection.family, factory)
    return protocol
