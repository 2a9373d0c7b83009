"""DNS over UDP and TCP."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

from twisted.internet.error import ConnectionDone, MessageLengthError
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol, ServerFactory
from twisted.protocols.basic import Int16StringReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from deployd.net.read_gate import ReadGate
from deployd.net.turns import Turns
from deployd.registry.dns_messages import MAX_QUESTION, reply
from deployd.registry.dns_zone import Table, Zone
from deployd.registry.service import Registry

MAX_CONNECTIONS = 500
IDLE = 10.0

_CONNECTION_DONE = Failure(ConnectionDone())


class Datagrams(DatagramProtocol):
    """Questions over UDP."""

    noisy = False
    transport: Any

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        answer = reply(self._zone, datagram, is_stream=False)
        if answer is None:
            return
        # To where nobody can be (port 0), or the network takes no more: whoever is there asks again.
        with suppress(OSError, MessageLengthError):
            self.transport.write(answer, addr)


class Stream(Int16StringReceiver, TimeoutMixin):
    """Questions over TCP, one after the other; the next is read once the answers before it are with the client.

    Of many that come at once the others are answered in turns (deployd.net.turns).
    """

    MAX_LENGTH = MAX_QUESTION
    factory: Streams
    transport: Any
    _gate: ReadGate | None = None

    def connectionMade(self) -> None:
        self.factory.open.add(self)
        self._gate = ReadGate(self)
        self.transport.registerProducer(self._gate, True)
        self.setTimeout(IDLE)

    def connectionLost(self, reason: Failure = _CONNECTION_DONE) -> None:
        self.setTimeout(None)
        self.factory.open.discard(self)
        self.factory.turns.leave(self)
        # Note [Gone at once]
        self._gate = None

    def dataReceived(self, data: bytes) -> None:
        self._turn = self.factory.turns.end()
        super().dataReceived(data)

    def go_on(self) -> None:
        if self._gate is not None:
            self._gate.open("turn")

    def stringReceived(self, string: bytes) -> None:
        self.resetTimeout()
        answer = reply(self.factory.zone, string, is_stream=True)
        if answer is None:
            self.transport.abortConnection()
        else:
            self.sendString(answer)
            if self._gate is not None and self.factory.turns.is_over(self._turn):
                self._gate.shut("turn")
                self.factory.turns.wait(self)

    def lengthLimitExceeded(self, length: int) -> None:
        self.transport.abortConnection()

    def timeoutConnection(self) -> None:
        self.transport.abortConnection()

    def callLater(self, period: float, func: Any) -> IDelayedCall:
        return self.factory.clock.callLater(period, func)


class Streams(ServerFactory):
    """More than ``limit`` connections are closed at once."""

    noisy = False
    protocol: Any = Stream

    def __init__(self, zone: Zone, clock: IReactorTime, limit: int = MAX_CONNECTIONS) -> None:
        self.zone = zone
        self.clock = clock
        self.turns = Turns(clock)
        self.open: set[Stream] = set()
        self._limit = limit

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return None if len(self.open) >= self._limit else super().buildProtocol(addr)

    def close_all(self) -> None:
        for stream in list(self.open):
            stream.transport.abortConnection()


def dns_servers(registry: Registry, clock: IReactorTime) -> tuple[Streams, Datagrams]:
    """What answers for the port table of ``registry`` over TCP and UDP."""
    table = Table(registry.rows, registry.is_marked, lambda: registry.revision.number)
    zone = Zone(table, Random().shuffle)
    return Streams(zone, clock), Datagrams(zone)
