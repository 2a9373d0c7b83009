"""The registry's site, asked through real bytes."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.net.secret import drone_credential
from deployd.registry.answers import Tables
from deployd.registry.events import Streams
from deployd.registry.owner import Seat
from deployd.registry.service import Registry
from deployd.registry.site import JsonSite
from deployd.registry.waiting import WaitingRoom
from deployd.registry.watching import Watchers
from deployd.registry.web import root
from deployd.storage.registry_memory import MemoryRegistryStore, MemoryTable


class Transport(StringTransport):
    """A client whose end closes when the server closes its own."""

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.disconnecting = True

    def unregisterProducer(self) -> None:
        self.producer = None


class WebCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.table = MemoryTable("epoch")
        self.begin()

    def begin(self, watchers: Watchers | None = None) -> None:
        """A registry with what is in the table."""
        self.waiting = WaitingRoom(self.clock, per_address=3, limit=5)
        store = MemoryRegistryStore(self.table)
        self.registry = Registry(self.clock, store, waiting=self.waiting, watchers=watchers)
        self.registry.open()
        self.tables = Tables(self.clock, limit=3, per_address=2)
        self.streams = Streams(self.registry, self.clock, self.tables.turns, limit=3, per_address=2)
        tree = root(self.registry, self.clock, self.tables, self.streams)
        self.site = JsonSite(tree, self.clock, limit=30, per_address=25)
        self.seat = self.attach("alice")

    def attach(self, owner: str) -> Seat:
        return self.registry.attach(owner, owner, drone_credential(None, owner), "", "127.0.0.1", lambda: None)

    def put(self, *rows: Registration) -> None:
        self.registry.publish(self.seat, rows)

    def connect(self, host: str = "10.0.0.9") -> tuple[Any, Transport]:
        channel = self.site.buildProtocol(IPv4Address("TCP", host, 4000))
        transport = Transport(peerAddress=IPv4Address("TCP", host, 4000))
        channel.makeConnection(transport)
        return channel, transport

    def ask(self, path: str, method: str = "GET", host: str = "10.0.0.9", more: str = "") -> Transport:
        self.channel, transport = self.connect(host)
        request = f"{method} {path} HTTP/1.1\r\nHost: r\r\n{more}\r\n"
        self.channel.dataReceived(request.encode("latin-1"))
        return transport

    def answer(self, transport: Transport) -> tuple[int, Any]:
        self.clock.advance(0)
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"application/json", head)
        return int(head.split()[1]), json.loads(body)

    def get(self, path: str) -> tuple[int, Any]:
        return self.answer(self.ask(path))


def gone() -> Failure:
    return Failure(ConnectionLost())
