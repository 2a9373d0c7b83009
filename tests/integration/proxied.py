"""A proxy on a real port, and apps behind it that are written for what a test is about."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from zope.interface import implementer

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, TableItem
from deployd.router.http.factory import ProxyFactory
from deployd.router.http.settings import ProxySettings
from deployd.router.table import Table
from tests.integration.certificates import Certified

reactor: Any = _reactor
MEGABYTE = 1 << 20
# What kernel and proxy may hold of a body that nobody takes: the kernel's buffers of two connections grow to some MB.
HELD = 24 * MEGABYTE
PATIENCE = 20.0
LOOPBACK = "127.0.0.1"


class App:
    """A listening port; ``make`` makes the protocol of each connection."""

    def __init__(self, make: Callable[[], Protocol]) -> None:
        self._factory = Factory.forProtocol(make)
        self._factory.noisy = False
        self.connections: list[Any] = []
        self.factory = self._factory
        self.port = 0
        self._listening: Any = None

    def listen(self) -> None:
        """On the same port as before, if there was one."""
        self._listening = reactor.listenTCP(self.port, self._factory, interface=LOOPBACK)
        self.port = self._listening.getHost().port

    async def die(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()
        for connection in list(self.connections):
            connection.transport.abortConnection()
        self.connections.clear()


class Site:
    """A proxy on a port, with a table that leads everything to ``apps``."""

    def __init__(self, *apps: App, tls: Certified | None = None, **settings: Any) -> None:
        self.apps = apps
        for app in apps:
            app.listen()
        self.table = Table(reactor)
        setting = Setting("webapp", "http", (Share("v1", 1),))
        items = [TableItem(route=RouteLine(RouteKey("*"), setting)), TableItem(drone=DroneHost("o", LOOPBACK))]
        self.table.follow(Revision("hub", 1), items, True)
        rows = [
            Registration(f"i{n}", "a" * 40, "http", LOOPBACK, app.port, app="webapp", release="v1", owner="o")
            for n, app in enumerate(apps)
        ]
        self.table.rows_replaced(rows, Revision("registry", 1))
        self.proxy = ProxyFactory(reactor, self.table, evolve(ProxySettings(), **settings), secure=tls is not None)
        if tls is None:
            self._listening = reactor.listenTCP(0, self.proxy, interface=LOOPBACK)
        else:
            context = DefaultOpenSSLContextFactory(str(tls.key), str(tls.certificate))
            self._listening = reactor.listenSSL(0, self.proxy, context, interface=LOOPBACK)
        self.port = self._listening.getHost().port

    def connect(self) -> socket.socket:
        """A blocking connection, for another thread."""
        return socket.create_connection((LOOPBACK, self.port), PATIENCE)

    @property
    def in_flight(self) -> int:
        return sum(target.in_flight for target in self.table.rows.targets.values())

    async def close(self) -> None:
        await self._listening.stopListening()
        self.proxy.close()
        for app in self.apps:
            await app.die()
        while self.proxy.connections or any(target.idle for target in self.table.rows.targets.values()):
            for target in self.table.rows.targets.values():
                self.table.closed(target)
            await deferLater(reactor, 0.01)
        await deferLater(reactor, 0.01)


def until_end(sock: socket.socket) -> bytes:
    """Everything that comes; b"" or less at a reset."""
    pieces = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pieces.append(b"(reset)")
    return b"".join(pieces)


class Answering(Protocol):
    """Answers each request without a body; ``OK`` is the answer."""

    OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

    def connectionMade(self) -> None:
        self._buffer = b""
        self.app().connections.append(self)

    def app(self) -> App:
        app: App = self.factory.app  # type: ignore[union-attr]
        return app

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
            self.transport.write(self.OK)  # type: ignore[union-attr]


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Switches to another protocol, in which it says everything again, in capitals, until the other side has ended."""

    switched = False

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if self.switched:
            transport.write(data.upper())
        else:
            self.switched = True
            transport.write(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n")

    def readConnectionLost(self) -> None:
        transport: Any = self.transport
        transport.write(b" bye")
        transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


class Sink(Protocol):
    """Takes a body only once it is let; ``taken`` counts it."""

    def connectionMade(self) -> None:
        self.taken = 0
        self._head = False
        transport: Any = self.transport
        self.factory.made = self  # type: ignore[union-attr]
        transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        if not self._head:
            self._head = True
            data = data.partition(b"\r\n\r\n")[2]
        self.taken += len(data)
        if self.taken >= self.factory.expected:  # type: ignore[union-attr]
            self.transport.write(Answering.OK)  # type: ignore[union-attr]


class Source(Protocol):
    """Answers with as much as it is let write."""

    SIZE = 64 * MEGABYTE

    def connectionMade(self) -> None:
        self.written = 0
        self.factory.made = self  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.SIZE)
        transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        transport: Any = self.transport
        if self.written < self.SIZE:
            transport.write(b"x" * 65536)
            self.written += 65536
        else:
            transport.unregisterProducer()

    def stopProducing(self) -> None:
        pass


def answering() -> App:
    app = App(Answering)
    app.factory.app = app  # type: ignore[attr-defined]
    return app
