"""Which host a row carries."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.registry.service import Registry
from deployd.storage.registry_memory import MemoryRegistryStore


class HostTests(SynchronousTestCase):
    def host(self, peer: str, advertise: str = "", own: str = "") -> str:
        registry = Registry(Clock(), MemoryRegistryStore(), advertise=own)
        return registry.attach("owner", "d1", b"", advertise, peer, lambda: None).host

    def test_is_the_peers_address(self) -> None:
        self.assertEqual(self.host("10.1.2.3"), "10.1.2.3")
        self.assertEqual(self.host("fd00::7"), "fd00::7")

    def test_is_what_the_peer_advertises(self) -> None:
        self.assertEqual(self.host("10.1.2.3", "web1.example"), "web1.example")
        self.assertEqual(self.host("127.0.0.1", "web1.example"), "web1.example")

    def test_of_this_machine_is_loopback_unless_the_registry_advertises_more(self) -> None:
        for peer in ("127.0.0.1", "::1", "", "::ffff:127.0.0.1"):
            self.assertEqual(self.host(peer), "127.0.0.1")
            self.assertEqual(self.host(peer, own="hub.example"), "hub.example")

    def test_is_never_the_loopback_of_another_machine(self) -> None:
        self.assertEqual(self.host("10.1.2.3", "127.0.0.1"), "10.1.2.3")
        self.assertEqual(self.host("10.1.2.3", "localhost"), "10.1.2.3")

    def test_of_an_ipv4_peer_on_an_ipv6_socket_is_plain(self) -> None:
        self.assertEqual(self.host("::ffff:10.1.2.3"), "10.1.2.3")
