"""One connection to an app: reads the answers of one request after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from deployd.net.sending import sender
from deployd.router.http.answers import CHUNKED, Answer, BadAnswer
from deployd.router.http.answers import answer as read_answer
from deployd.router.http.bodies import BadBody, Body, Chunked, Length, UntilClose
from deployd.router.http.heads import MAX_HEAD
from deployd.router.http.sockets import close, something_came
from deployd.router.http.timeouts import NEVER, Deadlines
from deployd.router.target import Target

# Of interim answers (1xx) to one request.
MAX_INTERIM = 32
# Seconds in which the app may take what was written before its connection was closed.
CLOSING = 10.0


class Asking(ABC):
    """Who has a request for an app; all that an app's connection tells it."""

    __slots__ = ()

    method: bytes

    @abstractmethod
    def connected(self, connection: AppConnection) -> bool:
        """Whether the connection is still wanted."""

    @abstractmethod
    def unreachable(self, target: Target) -> None: ...

    @abstractmethod
    def interim(self, answer: Answer) -> None: ...

    @abstractmethod
    def switched(self, answer: Answer, rest: bytes) -> None: ...

    @abstractmethod
    def answered(self, answer: Answer, data: bytes, body: Body | None) -> None:
        """The head of the answer, and the first of its body; ``body`` is None if that was all."""

    @abstractmethod
    def more(self, data: bytes, body: Body) -> None: ...

    @abstractmethod
    def garbage(self) -> None:
        """The app speaks no HTTP; the connection is of no more use."""

    @abstractmethod
    def lost(self, connection: AppConnection, begun: bool) -> None:
        """The connection is no more; ``begun``: after a part of the answer."""

    @abstractmethod
    def app_full(self) -> None: ...

    @abstractmethod
    def app_drained(self) -> None: ...


class Through(Interface):
    """A tunnel, after an upgrade."""

    def from_app(self, data: bytes) -> None: ...

    def app_ended(self) -> None: ...

    def app_lost(self) -> None: ...

    def app_full(self) -> None: ...

    def app_drained(self) -> None: ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class AppConnection(Protocol):
    """Carries one request at a time for ``asking``. ``used``: has carried one before, so it may be stale."""

    def __init__(self, target: Target, deadlines: Deadlines, made: Callable[[AppConnection], None]) -> None:
        self.target = target
        self.used = False
        self.lost = False
        self.full = False
        self.idle_since = 0.0
        self.deadline = NEVER
        self._deadlines = deadlines
        self._made = made
        self._asking: Asking | None = None
        self._tunnel: Through | None = None
        self._buffer = b""
        self._body: Body | None = None
        self._interim = 0
        self._paused = False

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self.write = sender(transport)
        self._deadlines.watch(self)
        self._made(self)

    def carry(self, asking: Asking) -> None:
        self._asking = asking
        self.deadline = NEVER

    def release(self) -> None:
        """The answer is complete."""
        self._asking = None
        self.used = True
        self._interim = 0
        if self._paused:
            self.resume()

    def through(self, tunnel: Through) -> None:
        self._tunnel = tunnel

    def is_open(self) -> bool:
        """Whether, as the kernel sees it right now, the app has neither closed the connection nor said anything."""
        return not something_came(self.transport)

    def dataReceived(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_app(data)
        elif self._asking is None:
            # Nobody asked: whatever it is must not become the answer of the next request.
            self.abort()
        elif self._body is None:
            self._read_head(self._asking, self._buffer + data if self._buffer else data)
        else:
            self._read_body(self._asking, self._body, data)

    def _read_head(self, asking: Asking, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD:
            self._buffer = data
            if len(data) > MAX_HEAD or data[:5] != b"HTTP/"[: len(data)]:
                asking.garbage()
            return
        self._buffer = b""
        try:
            answer = read_answer(data[:end], asking.method)
        except BadAnswer:
            asking.garbage()
            return
        rest = data[end + 4 :]
        if answer.status < 200:
            self._read_interim(asking, answer, rest)
            return
        length = answer.length
        if length == len(rest):
            asking.answered(answer, rest, None)
            return
        body: Body = Chunked() if length == CHUNKED else Length(length) if length >= 0 else UntilClose()
        self._body = body
        try:
            first = body.feed(rest) if rest else b""
        except BadBody:
            asking.garbage()
            return
        if body.done:
            self._body = None
        asking.answered(answer, first, body)

    def _read_interim(self, asking: Asking, answer: Answer, rest: bytes) -> None:
        self._interim += 1
        if answer.status == 101:
            asking.switched(answer, rest)
        elif self._interim > MAX_INTERIM:
            asking.garbage()
        else:
            asking.interim(answer)
            if rest and self._asking is asking:
                self._read_head(asking, rest)

    def _read_body(self, asking: Asking, body: Body, data: bytes) -> None:
        try:
            piece = body.feed(data)
        except BadBody:
            asking.garbage()
            return
        if body.done:
            self._body = None
        asking.more(piece, body)

    def readConnectionLost(self) -> None:
        if self._tunnel is not None:
            self._tunnel.app_ended()
            return
        self._end(clean=True)
        self.abort()

    def writeConnectionLost(self) -> None:
        """We did that ourselves."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deadlines.forget(self)
        self._end(reason.check(ConnectionDone) is not None)

    def _end(self, clean: bool) -> None:
        if self.lost:
            return
        self.lost = True
        asking, self._asking = self._asking, None
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.app_lost()
        elif asking is None:
            if self in self.target.idle:
                self.target.idle.remove(self)
        elif clean and isinstance(self._body, UntilClose):
            self._body.done = True
            asking.more(b"", self._body)
        else:
            asking.lost(self, begun=self._body is not None or bool(self._buffer) or self._interim > 0)

    def expired(self, now: float) -> None:
        """Nobody has needed this connection for a while; or it was closed, and the app does not take the rest."""
        if self.lost:
            self.abort()
            return
        if self in self.target.idle:
            self.target.idle.remove(self)
        self.close()

    def close(self) -> None:
        """Nothing is under way any more; what was written is still sent."""
        self._forget()
        self.deadline = self._deadlines.seconds() + CLOSING
        close(self.transport)

    def end(self) -> None:
        """Send no more, but read on."""
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseWriteConnection()

    def abort(self) -> None:
        """Whatever is under way, nobody wants it."""
        self._forget()
        self._deadlines.forget(self)
        transport: Any = self.transport
        transport.abortConnection()

    def _forget(self) -> None:
        self.lost = True
        self._asking = self._tunnel = None
        if self in self.target.idle:
            self.target.idle.remove(self)

    def pause(self) -> None:
        """Read no more of the answer."""
        if not self._paused:
            self._paused = True
            transport: Any = self.transport
            transport.pauseProducing()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            transport: Any = self.transport
            transport.resumeProducing()

    def pauseProducing(self) -> None:
        """The transport holds enough of what was written."""
        self.full = True
        asking = self._tunnel or self._asking
        if asking is not None:
            asking.app_full()

    def resumeProducing(self) -> None:
        self.full = False
        asking = self._tunnel or self._asking
        if asking is not None:
            asking.app_drained()

    def stopProducing(self) -> None:
        """connectionLost follows."""
