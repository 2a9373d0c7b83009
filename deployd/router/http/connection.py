"""The client's side: one connection, and the requests on it, one after another.

Note [Lingering]
~~~~~~~~~~~~~~~~
When a connection is closed while bytes of the client wait unread, the kernel resets it, and the client may lose the
answer that it was sent. So whoever is answered before its request has been read has the sending side closed, and what
it still sends is read and forgotten, for ``linger`` seconds at most.

Note [Parting]
~~~~~~~~~~~~~~
A client that was not told ``Connection: close`` may send its next request just when the router closes the connection,
and cannot know whether that was read. So a router that stops answers one more request on each connection, saying that
it was the last, and closes those on which none comes within ``parting`` seconds. Whenever an idle connection is closed,
the kernel is asked first whether something has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from deployd.net.sending import sender
from deployd.router.http import errors, heads
from deployd.router.http.exchange import Exchange
from deployd.router.http.fields import Origin
from deployd.router.http.sockets import close, something_came, unsent
from deployd.router.http.tunnel import Tunnel

if TYPE_CHECKING:
    from deployd.router.http.factory import ProxyFactory


@implementer(IHalfCloseableProtocol, IPushProducer)
class ClientConnection(Protocol):
    """Requests are answered in their order; while one is under way, at most one read of what follows is held."""

    _log = Logger()
    factory: ProxyFactory

    def __init__(self, factory: ProxyFactory, address: str) -> None:
        self.factory = factory
        self.address = address
        self.origin = Origin(address, factory.secure, factory.settings.trusts(address))
        self.deadline = factory.seconds() + factory.settings.idle
        # The transport holds enough of what was written; the client has ended its side.
        self.full = False
        self.ended = False
        self._held = b""
        self._exchange: Exchange | Tunnel | None = None
        self._reading = False
        self._paused = False
        self._closing = False
        self._unsent = -1

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self.send = sender(transport)
        self.factory.opened(self)

    # -- reading

    def dataReceived(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.from_client(data)
        elif self._closing:
            return
        elif self.full:
            self.hold(data)
        else:
            start = len(self._held)
            if start:
                self._held += data
            else:
                self._held = data
                self.deadline = self.factory.seconds() + self.factory.settings.head
            self._read(start)

    def _read(self, start: int) -> None:
        """Begin with the requests that are held, as long as each is answered at once. ``start``: what is new."""
        if self._reading:
            return
        self._reading = True
        while self._held and self._exchange is None and not self._closing and not self.full:
            data = self._held
            if data.startswith(b"\r\n"):
                # One empty line before a request is forgiven (RFC 9112, 2.2).
                data = data[2:]
                if not data:
                    self._held = b""
                    break
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > heads.MAX_HEAD:
                self._check_unfinished(data, start)
                break
            self._held = data[end + 4 :]
            start = 0
            self._begin(data[:end])
        self._reading = False
        if self._exchange is None and self.ended and not self._closing and not self.full:
            self._close()

    def _check_unfinished(self, data: bytes, start: int) -> None:
        if len(data) > heads.MAX_HEAD:
            self._refuse(431, errors.LONG_HEAD)
        elif heads.hopeless(data, start - 2):
            self._refuse(400, errors.BAD_HEAD)

    def _begin(self, head: bytes) -> None:
        try:
            request = heads.request(head)
        except heads.Bad as bad:
            self._refuse(bad.status, bad.sentence)
            return
        now = self.factory.seconds()
        exchange = self._exchange = Exchange(self, request, now)
        try:
            exchange.start(now)
        except Exception:
            self._log.failure("a request of {address} could not be sent on", address=self.address)
            exchange.refuse(500, errors.OWN_FAULT)

    def hold(self, data: bytes) -> None:
        """Nobody can take ``data`` now."""
        self._held = self._held + data if self._held else data
        self.pause()

    def take_held(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            transport: Any = self.transport
            transport.pauseProducing()

    def resume(self) -> None:
        if self._paused and not self.ended:
            self._paused = False
            transport: Any = self.transport
            transport.resumeProducing()

    def through(self, tunnel: Tunnel) -> None:
        self._exchange = tunnel

    def exchange_over(self, keep: bool, unread: bool = False) -> None:
        """The answer is on its way to the client; ``keep``: the next request may come; ``unread``: of this one more may
        come, if only in a moment (Note [Lingering])."""
        self._exchange = None
        if self._closing:
            return
        if not keep:
            self._close(linger=unread)
            return
        if self.full:
            # The next answer would only wait behind this one.
            self._unsent = unsent(self.transport)
            self.deadline = self.factory.seconds() + self.factory.settings.stalled
            self.pause()
        else:
            self._go_on()

    def _go_on(self) -> None:
        """With the next request, if it has come."""
        settings = self.factory.settings
        self.deadline = self.factory.seconds() + (settings.parting if self.factory.draining else settings.idle)
        if self._held:
            self.deadline = self.factory.seconds() + self.factory.settings.head
            self._read(0)
        elif self.ended:
            self._close()
        if self._exchange is None and not self._closing:
            self.resume()

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._exchange is not None

    # -- the end

    def _refuse(self, status: int, sentence: str) -> None:
        """What came is no request."""
        request_id = self.factory.new_id()
        self.send(errors.own_answer(status, sentence, request_id, keep=False))
        self._held = b""
        self.factory.tell_refused(self, status, request_id)
        self._close(linger=True)

    def _close(self, linger: bool = False) -> None:
        if self._closing:
            return
        self._closing = True
        linger = linger or self._paused or bool(self._held) or something_came(self.transport)
        self._held = b""
        transport: Any = self.transport
        if linger and not self.ended and isinstance(transport, Connection):
            self.deadline = self.factory.seconds() + self.factory.settings.linger
            self.end()
            self.resume()
        else:
            self.deadline = self.factory.seconds() + self.factory.settings.stalled
            close(transport)

    def part(self) -> None:
        """The router stops, see Note [Parting]."""
        if self._exchange is None and not self._held and not self._closing:
            self.deadline = min(self.deadline, self.factory.seconds() + self.factory.settings.parting)

    def give_way(self) -> bool:
        """End at once if no request is under way, as far as the kernel knows; whether that is so."""
        if self._exchange is not None or self._closing or self.full or something_came(self.transport):
            return False
        self.abort()
        return True

    def end(self) -> None:
        """Send no more, but read on."""
        transport: Any = self.transport
        transport.unregisterProducer()
        if isinstance(transport, Connection):
            transport.loseWriteConnection()
        else:
            # TLS as Twisted has it is closed both ways or not at all.
            transport.loseConnection()

    def abort(self) -> None:
        self._closing = True
        transport: Any = self.transport
        transport.abortConnection()

    def readConnectionLost(self) -> None:
        self.ended = True
        exchange = self._exchange
        if exchange is not None:
            exchange.client_ended()
        elif self._closing:
            close(self.transport)
        else:
            self._close()

    def writeConnectionLost(self) -> None:
        """We did that ourselves."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._held = b""
        exchange = self._exchange
        if exchange is not None:
            exchange.client_lost()
        self.factory.closed(self)

    def expired(self, now: float) -> None:
        exchange = self._exchange
        if exchange is not None and not self._closing:
            exchange.expired(now)
        elif self._closing or self.full:
            self._unless_moved(now)
        elif self._held:
            self._refuse(408, errors.SLOW_REQUEST)
        elif something_came(self.transport):
            self.deadline = now + self.factory.settings.parting
        else:
            self._close()

    def _unless_moved(self, now: float) -> None:
        """What was written last is still on its way: go on if the client has taken some of it since the last look."""
        waiting, self._unsent = unsent(self.transport), self._unsent
        if waiting > 0 and waiting != self._unsent:
            self._unsent = waiting
            self.deadline = now + self.factory.settings.stalled
        else:
            self.deadline = now + self.factory.settings.stalled
            self.abort()

    # -- writing: the transport says when it holds enough

    def pauseProducing(self) -> None:
        self.full = True
        if self._exchange is not None:
            self._exchange.client_full()

    def resumeProducing(self) -> None:
        self.full = False
        if self._exchange is not None:
            self._exchange.client_drained()
        elif not self._closing:
            self._go_on()

    def stopProducing(self) -> None:
        """connectionLost follows."""
