"""A proxy between clients and apps that are scripted byte by byte, on a reactor whose time is moved by hand."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, TableItem
from deployd.router.http.access import AccessLine
from deployd.router.http.factory import ProxyFactory
from deployd.router.http.settings import ProxySettings
from deployd.router.table import Table

COMMIT = "a" * 40
OWNER = "owner"
APP_HOST = "127.0.0.1"
FIRST_PORT = 5001


class Wire:
    """One end of a connection, as a protocol under test sees its transport; ``other`` side's acts are the test's."""

    def __init__(self, reactor: Any, protocol: Any) -> None:
        self._reactor = reactor
        self.protocol = protocol
        self.said = b""
        self.reading = True
        self.producer: Any = None
        self.open = True
        self.aborted = False
        self.half_closed = False
        protocol.makeConnection(self)

    # What the protocol does.

    def write(self, data: bytes) -> None:
        if self.open:
            self.said += data

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseWriteConnection(self) -> None:
        assert self.producer is None
        self.half_closed = True

    def loseConnection(self) -> None:
        assert self.producer is None, "a transport with a producer is not closed"
        self._end(ConnectionDone())

    def abortConnection(self) -> None:
        self.aborted = True
        self._end(ConnectionAborted())

    def _end(self, why: Exception) -> None:
        if self.open:
            self.open = False
            self._reactor.callLater(0, self.protocol.connectionLost, Failure(why))

    # What the other side does.

    def say(self, data: bytes) -> None:
        assert self.open, "the connection is closed"
        self.protocol.dataReceived(data)
        self._reactor.advance(0)

    def heard(self) -> bytes:
        """What was written since the last call."""
        said, self.said = self.said, b""
        return said

    def end(self) -> None:
        """A FIN."""
        assert IHalfCloseableProtocol.providedBy(self.protocol)
        self.protocol.readConnectionLost()
        self._reactor.advance(0)

    def reset(self) -> None:
        self.open = False
        self.protocol.connectionLost(Failure(ConnectionLost()))
        self._reactor.advance(0)

    def fill(self) -> None:
        """The other side takes nothing more."""
        self.producer.pauseProducing()

    def drain(self) -> None:
        self.producer.resumeProducing()
        self._reactor.advance(0)


class Rig:
    """A real table with ``targets`` instances of one app, behind every host."""

    def __init__(
        self, targets: int = 1, secure: bool = False, setting: Setting | None = None, waiters: int = 9, **settings: Any
    ) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.reactor.advance(1000)
        self.table = Table(self.reactor, max_waiters=waiters)
        setting = setting or Setting("webapp", "http", (Share("v1", 1),))
        items = [TableItem(route=RouteLine(RouteKey("*"), setting)), TableItem(drone=DroneHost(OWNER, APP_HOST))]
        self.table.follow(Revision("hub", 1), items, True)
        self._revision = 0
        self.rows(targets)
        self.lines: list[AccessLine] = []
        settings = evolve(ProxySettings(), **settings)
        self.factory = ProxyFactory(self.reactor, self.table, settings, secure, self.lines.append)

    def rows(self, count: int, first: int = 0) -> None:
        self._revision += 1
        rows = [
            Registration(
                id=f"i{n}", namespace=COMMIT, role="http", host=APP_HOST, port=FIRST_PORT + n, app="webapp",
                release="v1", owner=OWNER,
            )
            for n in range(first, first + count)
        ]  # fmt: skip
        self.table.rows_replaced(rows, Revision("registry", self._revision))
        self.reactor.advance(0)

    def client(self, address: str = "192.0.2.7") -> Wire:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", address, 40000))
        assert protocol is not None
        return Wire(self.reactor, protocol)

    def connecting(self) -> list[int]:
        """The ports that are being connected to."""
        return [entry[1] for entry in self.reactor.tcpClients]

    def accept(self) -> Wire:
        """The app's side of the connection that was asked for first."""
        factory = self.reactor.tcpClients.pop(0)[2]
        wire = Wire(self.reactor, factory.buildProtocol(None))
        self.reactor.advance(0)
        return wire

    def refuse(self) -> None:
        factory = self.reactor.tcpClients.pop(0)[2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.reactor.advance(0)

    def wait(self, seconds: float) -> None:
        """In steps, as the reactor does."""
        for _ in range(int(seconds / 0.25) + 1):
            self.reactor.advance(0.25)

    def in_flight(self) -> int:
        return sum(target.in_flight for target in self.table.rows.targets.values()) + len(self.table.accounts.lingering)


GET = b"GET /some/path?a=1 HTTP/1.1\r\nHost: shop.example\r\n\r\n"
POST = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
PUT = POST.replace(b"POST", b"PUT")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def fields(head: bytes) -> dict[bytes, bytes]:
    """The fields of a message by name in lower case; several of one name are joined by ``, ``."""
    found: dict[bytes, bytes] = {}
    for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b": ")
        name = name.lower()
        found[name] = found[name] + b", " + value if name in found else value
    return found


def body(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


def status(message: bytes) -> int:
    return int(message.split(b" ", 2)[1])


def used(rig: Rig, client: Wire) -> Wire:
    """A connection to an app that has carried a request."""
    client.say(GET)
    app = rig.accept()
    app.say(OK)
    client.heard()
    app.heard()
    return app
