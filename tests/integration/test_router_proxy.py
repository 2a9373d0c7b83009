"""The proxy on real sockets: tunnels, large bodies at slow readers, half-closed connections, apps that die and return."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest_twisted
from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, TableItem
from deployd.router.http.factory import ProxyFactory
from deployd.router.http.settings import ProxySettings
from deployd.router.table import Table
from tests.integration.certificates import Authority, Certified

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


@pytest_twisted.ensureDeferred
async def test_a_tunnel_carries_bytes_both_ways_and_ends_side_by_side() -> None:
    site = Site(App(Echo))

    def talk() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(65536)
            assert head.startswith(b"HTTP/1.1 101 Go\r\n"), head
            sock.sendall(b"hello " * 100_000)
            sock.shutdown(socket.SHUT_WR)
            return until_end(sock)

    try:
        assert await deferToThread(talk) == b"HELLO " * 100_000 + b" bye"
        assert site.in_flight == 0
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_a_large_body_waits_for_a_slow_app_where_it_was() -> None:
    app = App(Sink)
    size = app.factory.expected = 100 * MEGABYTE  # type: ignore[attr-defined]
    site = Site(app)
    sent = [0]

    def upload() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
            block = b"x" * 65536
            while sent[0] < size:
                sock.sendall(block)
                sent[0] += len(block)
            return until_end(sock)

    try:
        uploading = deferToThread(upload)
        before = -1
        while sent[0] != before or not sent[0]:
            before = sent[0]
            await deferLater(reactor, 0.5)
        assert sent[0] < HELD
        sink: Any = app.factory.made  # type: ignore[attr-defined]
        sink.transport.resumeProducing()
        assert (await uploading).startswith(b"HTTP/1.1 200 OK\r\n")
        assert sink.taken == size
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_a_large_answer_waits_for_a_slow_client_where_it_was() -> None:
    app = App(Source)
    site = Site(app)

    def ask() -> socket.socket:
        sock = site.connect()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return sock

    def count(sock: socket.socket) -> int:
        with sock:
            total = 0
            while piece := sock.recv(1 << 20):
                total += len(piece)
            return total

    try:
        sock = await deferToThread(ask)
        before, written = -1, 0
        while written != before or not written:
            await deferLater(reactor, 0.5)
            before = written
            written = getattr(getattr(app.factory, "made", None), "written", 0)
        assert written < HELD
        assert await deferToThread(count, sock) > Source.SIZE
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_tls_is_written_as_tls_and_slowed_down_as_well(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    source, answers = App(Source), answering()
    slow = Site(source, tls=authority.certify("localhost"))
    quick = Site(answers, tls=authority.certify("localhost"))
    context = authority.context()

    def ask() -> bytes:
        with context.wrap_socket(quick.connect(), server_hostname="localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return until_end(sock)

    def begin() -> socket.socket:
        sock = context.wrap_socket(slow.connect(), server_hostname="localhost")
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return sock

    try:
        assert (await deferToThread(ask)).count(b"200 OK") == 4
        sock = await deferToThread(begin)
        await deferLater(reactor, 1.0)
        assert 0 < source.factory.made.written < HELD  # type: ignore[attr-defined]
        assert len(await deferToThread(until_end, sock)) > Source.SIZE
        sock.close()
    finally:
        await slow.close()
        await quick.close()


@pytest_twisted.ensureDeferred
async def test_a_client_that_has_ended_its_side_is_answered() -> None:
    site = Site(answering())

    def ask() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            sock.shutdown(socket.SHUT_WR)
            return until_end(sock)

    try:
        assert (await deferToThread(ask)).count(b"200 OK") == 2
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_who_is_refused_while_still_sending_hears_why() -> None:
    site = Site(answering(), linger=1.0)

    def ask() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n")
            for _ in range(20):
                sock.sendall(b"x" * 65536)
            return until_end(sock)

    try:
        answer = await deferToThread(ask)
        assert answer.startswith(b"HTTP/1.1 501 "), answer
        assert not answer.endswith(b"(reset)")
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_no_request_fails_while_apps_die_and_return() -> None:
    apps = [answering() for _ in range(3)]
    site = Site(*apps)
    over = [False]

    def ask(requests: int) -> int:
        """How many of them were answered as they should be."""
        good = 0
        sock = site.connect()
        for _ in range(requests):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"hi"):
                piece = sock.recv(65536)
                if not piece:
                    break
                answer += piece
            good += answer.startswith(b"HTTP/1.1 200 OK\r\n")
        sock.close()
        return good

    async def kill() -> None:
        chance = random.Random(3)
        while not over[0]:
            app = chance.choice(apps)
            await app.die()
            await deferLater(reactor, 0.02)
            app.listen()
            await deferLater(reactor, 0.01)

    try:
        killing = Deferred.fromCoroutine(kill())
        good = await gatherResults([deferToThread(ask, 250) for _ in range(4)])
        over[0] = True
        await killing
        assert good == [250] * 4
        assert site.in_flight == 0
    finally:
        over[0] = True
        await site.close()
