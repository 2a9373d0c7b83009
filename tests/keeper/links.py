"""A drone's link to a keeper, both real, over a wire in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.test.iosim import FakeTransport, IOPump, connect

from deployd.drone.keeper_process import NoKeeper
from deployd.drone.keeping import Keeping
from deployd.keeper.responders import Sessions
from deployd.net.peer import Peer
from tests.keeper.house import KeeperHouse


class Door:
    """Leads to ``house``, or to nobody; ``launch`` builds a new one unless ``broken``."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.house: KeeperHouse | None = None
        self.sessions: Sessions
        self.pumps: list[tuple[IOPump, Peer]] = []
        self.launched = 0
        self.broken = False
        self.starting = False
        self.deaf = False

    def connect(self, peer: Peer) -> Deferred[Peer]:
        if self.house is None:
            raise NoKeeper()
        if self.deaf:
            peer.makeConnection(StringTransport())
            return succeed(peer)
        server = self.sessions.buildProtocol(None)
        assert server is not None
        pump = connect(server, FakeTransport(server, True), peer, FakeTransport(peer, False), greet=False)
        self.pumps.append((pump, peer))
        return succeed(peer)

    def launch(self) -> None:
        self.launched += 1
        if not self.broken:
            self.open(KeeperHouse(self.clock))

    def open(self, house: KeeperHouse) -> None:
        self.house = house
        self.sessions = Sessions(self.clock, house.keeper)

    # What a test does with it.

    def pump(self) -> None:
        for _ in range(20):
            for pump, _ in self.pumps:
                pump.pump()
            self.clock.advance(0)

    def cut(self) -> None:
        """The links break; the keeper lives."""
        pumps, self.pumps = self.pumps, []
        for pump, _ in pumps:
            pump.client.transport.abortConnection()
            pump.server.transport.abortConnection()
            pump.flush()

    def die(self) -> None:
        """kill -9 of the keeper."""
        self.house = None
        self.cut()


class LinkHouse:
    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.door = Door(clock)
        self.keeping = Keeping(clock, self.door, clock.seconds)

    @property
    def house(self) -> KeeperHouse:
        assert self.door.house is not None
        return self.door.house

    def begin(self) -> None:
        done: list[None] = []
        self.keeping.begin().addCallback(done.append)
        self.wait(0.2)
        assert done, "the keeper is not met"

    def wait(self, seconds: float = 0.0) -> None:
        self.door.pump()
        left = seconds
        while left > 0:
            self.clock.advance(min(left, 0.05))
            left -= 0.05
            self.door.pump()
