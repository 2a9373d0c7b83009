"""How many may be connected to a server, and what is left of who was."""

from __future__ import annotations

import gc
from weakref import ref

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from deployd.net.conversation import Conversation
from deployd.net.server import ServerFactory, ServerPeer
from tests.net.links import terms


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = ServerFactory(self.clock, terms(), limit=5, per_address=3)

    def connect(self, host: str) -> ServerPeer | None:
        address = IPv4Address("TCP", host, 4000)
        peer = self.factory.buildProtocol(address)
        if peer is not None:
            peer.makeConnection(StringTransport(peerAddress=address))
        return peer

    def test_one_address_does_not_shut_out_the_others(self) -> None:
        flood = [self.connect("10.0.0.1") for _ in range(4)]
        self.assertEqual([peer is not None for peer in flood], [True, True, True, False])
        others = [self.connect("10.0.0.2") for _ in range(3)]
        self.assertEqual([peer is not None for peer in others], [True, True, False])
        for peer in flood:
            if peer is not None:
                peer.connectionLost()
        self.assertEqual(dict(self.factory.addresses), {"10.0.0.2": 2})
        again = self.connect("10.0.0.1")
        for peer in (again, *others):
            if peer is not None:
                peer.connectionLost()
        self.assertEqual((self.factory.peers, dict(self.factory.addresses)), (set(), {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_is_gone_leaves_nothing_behind(self) -> None:
        """Not even until Python looks for cycles, which a daemon with many rows rarely does (Note [Gone at once])."""

        class Knowing(Conversation):
            def __init__(self, peer: ServerPeer | None) -> None:
                super().__init__()
                self.peer = peer

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for begun in (False, True):
            peer = self.connect("10.0.0.1")
            assert peer is not None
            if begun:
                peer.established(Knowing(peer), 15.0, 45.0)
            peer.dataReceived(b"\x00\x04_ask\x00\x011\x00\x08_command\x00\x05hel")
            gone = ref(peer)
            peer.connectionLost()
            del peer
            self.assertIsNone(gone())
