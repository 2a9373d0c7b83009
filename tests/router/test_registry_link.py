"""Which registry a router reads, and what comes of it: real registries over iosim."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import UsageError
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.client import Dial
from deployd.net.identity import Identity
from deployd.router.registry_link import RegistryLink, seen_from_here
from deployd.wire.registry import Attach, Publish
from tests.client.network import SECRET, Network


class Reader:
    def __init__(self) -> None:
        self.rows: dict[str, Registration] = {}
        self.revision = Revision("", 0)
        self.lost = 0

    def reset_rows(self, rows: tuple[Registration, ...], revision: Revision, same_epoch: bool) -> None:
        self.rows = {row.id: row for row in rows}
        self.revision = revision

    def change_rows(self, put: tuple[Registration, ...], gone: tuple[str, ...], revision: Revision) -> None:
        self.rows = {id: row for id, row in self.rows.items() if id not in gone} | {row.id: row for row in put}
        self.revision = revision

    def registry_lost(self) -> None:
        self.lost += 1


def row(id: str) -> Registration:
    return Registration(id, "tests", "http", "", 20000)


class RegistryLinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.networks = {name: Network() for name in ("a:6000", "b:6000")}
        self.reader = Reader()
        self.met: list[str] = []
        self.link = RegistryLink(self.dial, self.reader, lambda: self.met.append(self.link.http))
        self.link.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        stopped = self.link.stopService()
        self.flush()
        self.successResultOf(stopped)

    def dial(self, address: str) -> Dial:
        if address not in self.networks:
            raise UsageError(f"{address!r} is not an address")
        return self.networks[address].dial("read")

    def flush(self) -> None:
        for network in self.networks.values():
            network.flush()

    def publish(self, name: str, *ids: str) -> None:
        network = self.networks[name]
        peer = network.session("register", Identity.create(), SECRET)
        network.answer(peer.call(Attach, name="d1", credential=b"", advertise=""))
        rows: Any = tuple(row(id) for id in ids)
        network.answer(peer.call(Publish, part=0, parts=1, rows=rows))
        network.advance(1.0)

    def test_reads_rows_and_their_changes(self) -> None:
        self.publish("a:6000", "1")
        self.link.use("a:6000")
        self.flush()
        self.assertEqual(set(self.reader.rows), {"1"})
        self.assertTrue(self.link.connected)
        self.publish("a:6000", "2")
        self.assertEqual(set(self.reader.rows), {"1", "2"})

    def test_its_ports_are_known_before_its_rows(self) -> None:
        self.link.use("a:6000")
        self.flush()
        self.assertEqual(self.met, ["registry:6080"])

    def test_another_address_is_another_registry(self) -> None:
        self.publish("a:6000", "1")
        self.publish("b:6000", "2")
        self.link.use("a:6000")
        self.flush()
        self.link.use("b:6000")
        self.flush()
        self.assertEqual(set(self.reader.rows), {"2"})
        self.publish("a:6000", "3")
        self.assertEqual(set(self.reader.rows), {"2"})
        self.assertEqual(self.link.address, "b:6000")

    def test_the_same_address_changes_nothing(self) -> None:
        self.link.use("a:6000")
        self.flush()
        self.link.use("a:6000")
        self.flush()
        self.assertEqual(len(self.met), 1)

    def test_what_is_no_address_leaves_the_old_one(self) -> None:
        self.publish("a:6000", "1")
        self.link.use("a:6000")
        self.flush()
        self.link.use("nonsense")
        self.flush()
        self.assertEqual((self.link.address, set(self.reader.rows)), ("a:6000", {"1"}))

    def test_a_registry_that_is_away_is_told_of(self) -> None:
        self.networks["a:6000"].up = False
        self.link.use("a:6000")
        self.flush()
        self.assertGreaterEqual(self.reader.lost, 1)
        self.assertFalse(self.link.connected)

    def test_an_address_that_only_the_hub_can_use_is_seen_from_here(self) -> None:
        self.assertEqual(seen_from_here("127.0.0.1:6000", "hub.example"), "hub.example:6000")
        self.assertEqual(seen_from_here("127.0.0.1:6000", "localhost"), "127.0.0.1:6000")
        self.assertEqual(seen_from_here("tls:r.example:6000", "hub.example"), "tls:r.example:6000")
