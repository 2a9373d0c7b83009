"""A registry and its clients in one process: iosim instead of sockets, one Clock, links that can be cut."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.test.iosim import IOPump, connect
from zope.interface import implementer

from deployd.net.client import Dial
from deployd.net.client import connect as dial_and_greet
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import Secret
from deployd.net.server import ServerFactory, ServerTerms
from deployd.registry.limits import Limits
from deployd.registry.responders import ANONYMOUS, conversations
from deployd.registry.service import Registry
from deployd.storage.registry_memory import MemoryRegistryStore, MemoryTable
from deployd.testing.transports import transport

SECRET = Secret("beep boop")
TIMEOUT = 45.0


@implementer(IStreamClientEndpoint)
class Network:
    """An endpoint that leads to a registry; ``restart`` gives it an empty book of a new epoch."""

    def __init__(
        self,
        secret: Secret | None = SECRET,
        limits: Limits | None = None,
        clock: Clock | None = None,
        epochs: str = "epoch",
    ) -> None:
        self.clock = clock or Clock()
        self.scheme = "http"
        self.secret = secret
        self.up = True
        self.pumps: list[IOPump] = []
        self._dead: list[Any] = []
        self._limits = limits
        self._name, self._epochs = epochs, 0
        self.restart()

    def restart(self) -> None:
        """Another registry is there instead, with an empty table."""
        self.cut()
        self._epochs += 1
        self.store = MemoryRegistryStore(MemoryTable(f"{self._name} {self._epochs}"))
        self._open()

    def reopen(self) -> None:
        """The registry was killed, and is there again with what it had saved."""
        self.cut()
        self.registry.stopService()
        self.store = MemoryRegistryStore(self.store.table)
        self._open()

    def _open(self) -> None:
        self.registry = Registry(self.clock, self.store, self.secret, TIMEOUT, limits=self._limits)
        # As the daemon does: the table is read while its services are started.
        self.registry.startService()
        self.registry.open()
        terms = ServerTerms(
            kind="registry",
            secret=self.secret,
            conversations=conversations(self.registry),
            facts=lambda: {"http": "127.0.0.1:6080", "scheme": self.scheme},
            anonymous=ANONYMOUS,
        )
        self.factory = ServerFactory(self.clock, terms)

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        if not self.up:
            return fail(ConnectionRefusedError("refused"))
        server, client = self.factory.buildProtocol(None), protocolFactory.buildProtocol(None)
        assert server is not None
        self.pumps.append(connect(server, transport(server, True), client, transport(client, False)))
        return succeed(client)

    def flush(self) -> None:
        """Deliver what is sent until nobody says anything more."""
        moved = True
        while moved:
            # What is put off until the next turn of the reactor happens too.
            self.clock.advance(0)
            # Every pump once, so that no end starves.
            moved = sum(pump.pump() for pump in self.pumps) > 0
            moved |= sum(_drained(end) for end in self._dead) > 0
            self.pumps = [pump for pump in self.pumps if not _is_over(pump)]
            self._dead = [end for end in self._dead if not end.disconnected]

    def cut(self) -> None:
        """Every link is lost: each end gets a FIN."""
        for pump in self.pumps:
            pump.serverIO.loseConnection()
        self.flush()

    def silence(self) -> None:
        """Every link goes dead, and neither end hears of it until it gives up itself."""
        self._dead += [end for pump in self.pumps for end in (pump.clientIO, pump.serverIO)]
        self.pumps = []

    def advance(self, seconds: float, step: float = 1.0) -> None:
        passed = 0.0
        while passed < seconds:
            self.clock.advance(min(step, seconds - passed))
            self.flush()
            passed += step

    def dial(self, purpose: str, identity: Identity | None = None, secret: Secret | None = SECRET) -> Dial:
        return Dial(self.clock, self, "registry:6000", Credentials("test", purpose, secret, identity))

    def session(self, purpose: str, identity: Identity | None = None, secret: Secret | None = SECRET) -> Peer:
        """A session of its own, after the handshake."""
        results: list[Any] = []
        Deferred.fromCoroutine(dial_and_greet(self.dial(purpose, identity, secret))).addBoth(results.append)
        self.flush()
        (result,) = results
        if not isinstance(result, Peer):
            result.raiseException()
        return result

    def answer(self, called: Deferred[Any]) -> Any:
        """What ``called`` gives once everything is delivered; raise its error."""
        results: list[Any] = []
        called.addBoth(results.append)
        self.flush()
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result


def _is_over(pump: IOPump) -> bool:
    return bool(pump.clientIO.disconnected and pump.serverIO.disconnected)


def _drained(end: Any) -> bool:
    """Lose what one end of a dead link says, and tell it that the connection is lost once it has closed it."""
    end.getOutBuffer()
    if not end.disconnecting:
        return False
    end.disconnected = True
    end.reportDisconnect()
    return True
