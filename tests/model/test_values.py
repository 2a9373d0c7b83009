"""Addresses, needs, selectors, port tables."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.address import Address, is_loopback, reachable
from deployd.model.instance import instance_id
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration, port_table
from deployd.model.release import Need, Selector
from deployd.model.revision import Revision


class AddressTests(SynchronousTestCase):
    def test_it_reads_what_it_writes(self) -> None:
        for address in (Address("hub", 6001), Address("::1", 80), Address("10.0.0.1", 65535)):
            self.assertEqual(Address.parse(str(address)), address)

    def test_it_refuses_what_is_no_address(self) -> None:
        for text in ("", "hub", "hub:", ":1", "hub:0", "hub:65536", "hub:x", "::1:80", "tls:a:1", "hub:٣"):
            self.assertRaises(Invalid, Address.parse, text)

    def test_a_loopback_address_is_replaced_for_a_peer_elsewhere(self) -> None:
        self.assertEqual(reachable(Address("127.0.0.1", 1), "hubhost"), Address("hubhost", 1))
        self.assertEqual(reachable(Address("127.0.0.1", 1), "127.0.0.1"), Address("127.0.0.1", 1))
        self.assertEqual(reachable(Address("10.0.0.9", 1), "hubhost"), Address("10.0.0.9", 1))

    def test_loopback_is_known_in_all_its_forms(self) -> None:
        for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
            self.assertTrue(is_loopback(host))
        for host in ("10.0.0.1", "hub", "0.0.0.0"):
            self.assertFalse(is_loopback(host))


class NeedTests(SynchronousTestCase):
    def test_it_counts_drones(self) -> None:
        for text, drones, count in (
            ("all", 3, 3),
            ("2", 5, 2),
            ("50%", 5, 3),
            ("1%", 5, 1),
            ("100%", 4, 4),
            ("7", 2, 7),
        ):
            self.assertEqual(Need.parse(text).count(drones), count)

    def test_nonsense_is_refused(self) -> None:
        for text in ("", "0", "0%", "101%", "-1", "some", "1.5", "٣"):
            self.assertRaises(Invalid, Need.parse, text)

    @given(st.integers(1, 100), st.integers(1, 1000))
    def test_a_share_asks_for_at_least_one_and_never_more_than_all(self, share: int, drones: int) -> None:
        self.assertTrue(1 <= Need.parse(f"{share}%").count(drones) <= drones)


class SelectorTests(SynchronousTestCase):
    def test_parts_add_up(self) -> None:
        named = Selector(every=False, names=frozenset({"a"}))
        labelled = Selector(every=False, where=((("region", "eu"), ("disk", "ssd")),))
        both = named.plus(labelled)
        self.assertTrue(both.selects("a", {}))
        self.assertTrue(both.selects("b", {"region": "eu", "disk": "ssd"}))
        self.assertFalse(both.selects("b", {"region": "eu"}))
        self.assertTrue(both.plus(Selector()).selects("c", {}))

    def test_an_empty_selection_of_names_selects_none(self) -> None:
        self.assertFalse(Selector(every=False).selects("a", {}))


class RevisionTests(SynchronousTestCase):
    def test_two_epochs_are_never_comparable(self) -> None:
        self.assertTrue(Revision("e", 2).reached(Revision("e", 2)))
        self.assertFalse(Revision("e", 1).reached(Revision("e", 2)))
        self.assertFalse(Revision("f", 9).reached(Revision("e", 2)))


class PortTableTests(SynchronousTestCase):
    def test_it_has_the_shape_of_the_walk_through(self) -> None:
        rows = [
            Registration(id="2", namespace="b", role="say", host="h", port=2),
            Registration(id="1", namespace="a", role="http", host="h", port=9),
            Registration(id="3", namespace="a", role="http", host="h", port=1),
        ]
        table = port_table(rows)
        self.assertEqual(list(table), ["a", "b"])
        self.assertEqual(table["a"]["http"], [{"host": "h", "port": 1}, {"host": "h", "port": 9}])


class InstanceIdTests(SynchronousTestCase):
    def test_ids_are_stable_and_differ_by_every_part(self) -> None:
        parts = ("owner", "app", "v1", "a" * 40, "http")
        self.assertEqual(instance_id(*parts), instance_id(*parts))
        others = {instance_id(*(part + "x" if i == n else part for i, part in enumerate(parts))) for n in range(5)}
        self.assertEqual(len(others | {instance_id(*parts)}), 6)
