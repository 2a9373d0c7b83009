"""Addresses, Procfiles, needs, selectors, port tables."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.address import Address, is_loopback, reachable
from deployd.model.instance import instance_id
from deployd.model.invalid import Invalid
from deployd.model.manifest import procfile
from deployd.model.registration import Registration, port_table
from deployd.model.release import Need, Selector
from deployd.model.revision import Revision
from deployd.model.role import RoleCommand, role_has_port


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


class ProcfileTests(SynchronousTestCase):
    def test_roles_come_in_order_with_their_shell_commands(self) -> None:
        text = "# comment\n\nweb: exec gunicorn app\r\nmail-worker: python w.py: x\n"
        self.assertEqual(
            procfile(text),
            (
                RoleCommand("web", ("/bin/sh", "-c", "exec gunicorn app"), True),
                RoleCommand("mail-worker", ("/bin/sh", "-c", "python w.py: x"), False),
            ),
        )

    def test_what_cannot_be_used_is_refused_with_its_line(self) -> None:
        for text, word in (
            ("web gunicorn", "line 1"),
            ("web:", "line 1"),
            ("web: a\nweb: b", "second time"),
            ("release: migrate", "release"),
            ("we b: x", "line 1"),
            ("# nothing", "no role"),
            ("".join(f"r{n}: x\n" for n in range(51)), "more than 50"),
        ):
            self.assertIn(word, str(self.assertRaises(Invalid, procfile, text)))

    def test_workers_and_clocks_listen_on_no_port(self) -> None:
        for role in ("worker", "clock", "mail-worker"):
            self.assertFalse(role_has_port(role))
        self.assertTrue(role_has_port("http"))


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
