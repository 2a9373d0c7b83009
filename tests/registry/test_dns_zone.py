"""Which records a name in the zone has: the port table and a name in, records out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.registry.dns_names import address_label, labelled_address
from deployd.registry.dns_zone import MAX_RECORDS, MAX_ROWS, NEGATIVE_TTL, TTL, Answer, Table, Verdict, Zone
from deployd.registry.filter import RowFilter
from tests.registry.rows import COMMIT, OTHER, row

SHORT = COMMIT[:7]


class House:
    """A zone of a few rows; ``looked`` counts the rows that were read for it."""

    def __init__(self, *rows: Registration, marked: tuple[str, ...] = ()) -> None:
        self._rows = rows
        self.looked = 0
        table = Table(self.rows, lambda one: one.id in marked, lambda: 2**32 + 7)
        self.zone = Zone(table, lambda rows: rows.reverse())

    def rows(self, wanted: RowFilter) -> Iterator[Registration]:
        for one in self._rows:
            if wanted.takes(one):
                self.looked += 1
                yield one

    def ask(self, name: str, kind: int = dns.A) -> Answer:
        return self.zone.answer(name.encode(), kind)

    def found(self, name: str, kind: int = dns.A) -> list[str]:
        """The records of a name, each as a text; [] where there are none."""
        return [shown(record.payload) for record in self.ask(name, kind).records]


def shown(payload: Any) -> str:
    if isinstance(payload, dns.Record_A):
        return str(payload.dottedQuad())
    if isinstance(payload, dns.Record_SRV):
        return f"{payload.priority} {payload.weight} {payload.port} {payload.target.name.decode()}"
    return str(payload)


class NameTests(SynchronousTestCase):
    house = House(
        row("a", role="say", host="10.0.0.1", app="team/webapp", release="v3"),
        row("b", role="say", host="10.0.0.2", app="webapp", release="v1", namespace=OTHER),
        row("c", role="say", host="10.0.0.3", app="webapp", release="v2", namespace=OTHER),
        row("d", role="db", host="10.0.0.4", app="", release="", namespace="default"),
        row("e", role="Big", host="10.0.0.5", app="", release="", namespace="Name"),
        row("f", role="say", host="10.0.0.6", app="face", release="v1", namespace=OTHER),
    )

    def test_a_commit_is_named_by_seven_digits_or_more(self) -> None:
        for digits in (7, 8, 39, 40):
            self.assertEqual(self.house.found(f"say.{COMMIT[:digits]}.deployd"), ["10.0.0.1"])
        self.assertEqual(self.house.found(f"say.{COMMIT[:6]}.deployd"), [])
        self.assertEqual(self.house.ask(f"http.{SHORT}.deployd").verdict, Verdict.NO_SUCH_NAME)

    def test_an_app_is_one_label(self) -> None:
        self.assertEqual(self.house.found("say.webapp.deployd"), ["10.0.0.3", "10.0.0.2"])
        self.assertEqual(self.house.found("say.team--webapp.deployd"), ["10.0.0.1"])
        self.assertEqual(self.house.found("say.v2.webapp.deployd"), ["10.0.0.3"])
        self.assertEqual(self.house.found("say.v3.team--webapp.deployd"), ["10.0.0.1"])
        self.assertEqual(self.house.found("say.face.deployd"), ["10.0.0.6"])

    def test_a_plain_namespace_is_named_as_it_is(self) -> None:
        self.assertEqual(self.house.found("db.default.deployd"), ["10.0.0.4"])

    def test_capitals_do_not_count_but_where_they_are_of_the_name(self) -> None:
        self.assertEqual(self.house.found("dB.dEfault.DEPLOYD"), ["10.0.0.4"])
        self.assertEqual(self.house.found("SAY.V2.WebApp.deployd"), ["10.0.0.3"])
        self.assertEqual(self.house.found(f"say.{SHORT.upper()}.deployd"), ["10.0.0.1"])
        self.assertEqual(self.house.found("Big.Name.deployd"), ["10.0.0.5"])
        self.assertEqual(self.house.found("_SAY._TCP.v2.webapp.deployd", dns.SRV), ["0 0 20001 ip4-10-0-0-3.deployd"])

    def test_a_name_with_others_beneath_it_exists(self) -> None:
        for name in ("deployd", "webapp.deployd", "team--webapp.deployd", f"{SHORT}.deployd", "default.deployd"):
            self.assertEqual(self.house.ask(name).verdict, Verdict.EMPTY, name)
        for name in ("v2.webapp.deployd", "_tcp.webapp.deployd", "_tcp.v2.webapp.deployd", "ns.deployd"):
            self.assertEqual(self.house.ask(name).verdict, Verdict.EMPTY, name)

    def test_other_names_do_not_exist(self) -> None:
        for name in (
            "say.deployd",
            "nobody.deployd",
            "say.nobody.deployd",
            "v9.webapp.deployd",
            "say.v9.webapp.deployd",
            "x.say.webapp.deployd",
            "_tcp.deployd",
            "_tcp.nobody.deployd",
            "_say._udp.webapp.deployd",
            "_say.webapp.deployd",
            "_._tcp.webapp.deployd",
            "_say.deployd",
            "say..deployd",
            ".deployd",
            "*.webapp.deployd",
            "say.webapp.team.deployd",
            "ip4-10-0-0.deployd",
        ):
            self.assertEqual(self.house.ask(name).verdict, Verdict.NO_SUCH_NAME, name)

    def test_other_zones_are_refused(self) -> None:
        for name in ("", "example", "say.webapp.example", "deployd.example", "notdeployd"):
            self.assertEqual(self.house.ask(name).verdict, Verdict.REFUSED, name)
        for kind in (dns.AXFR, dns.IXFR):
            self.assertEqual(self.house.ask("deployd", kind).verdict, Verdict.REFUSED)

    @given(st.text(max_size=80), st.integers(0, 65535))
    def test_any_name_has_an_answer(self, name: str, kind: int) -> None:
        self.house.zone.answer(name.encode() + b".deployd", kind)


class RecordTests(SynchronousTestCase):
    def test_hosts_are_said_once_and_in_an_order_by_chance(self) -> None:
        rows = [row(f"r{n}", port=n + 1, host=f"10.0.0.{n // 2}") for n in range(6)]
        self.assertEqual(House(*rows).found("http.webapp.deployd"), ["10.0.0.2", "10.0.0.1", "10.0.0.0"])

    def test_each_type_has_its_addresses(self) -> None:
        house = House(row("a", host="10.0.0.1"), row("b", host="fd00::7"), row("c", host="web1.example"))
        self.assertEqual(house.found("http.webapp.deployd"), ["10.0.0.1"])
        (record,) = house.ask("http.webapp.deployd", dns.AAAA).records
        self.assertEqual((record.payload._address, record.ttl), (dns.Record_AAAA("fd00::7")._address, TTL))
        self.assertEqual(house.ask("http.webapp.deployd", dns.TXT).verdict, Verdict.EMPTY)
        self.assertEqual(House(row(host="web1.example")).ask("http.webapp.deployd").verdict, Verdict.EMPTY)

    def test_srv_says_port_and_target_with_its_address(self) -> None:
        house = House(
            row("a", port=1, host="10.0.0.1"), row("b", port=2, host="fd00::7"), row("c", port=3, host="web1.example.")
        )
        answer = house.ask("_http._tcp.webapp.deployd", dns.SRV)
        six = "ip6-fd00-0000-0000-0000-0000-0000-0000-0007.deployd"
        targets = ["0 0 3 web1.example", f"0 0 2 {six}", "0 0 1 ip4-10-0-0-1.deployd"]
        self.assertEqual([shown(record.payload) for record in answer.records], targets)
        self.assertEqual([str(record.name) for record in answer.additional], [six, "ip4-10-0-0-1.deployd"])
        self.assertEqual(house.found("ip4-10-0-0-1.deployd"), ["10.0.0.1"])
        self.assertEqual(len(house.ask(six.upper(), dns.AAAA).records), 1)
        self.assertEqual(house.ask(six).verdict, Verdict.EMPTY)

    def test_a_service_name_has_only_srv(self) -> None:
        house = House(row(host="10.0.0.1"))
        self.assertEqual(house.found("http.webapp.deployd", dns.SRV), ["0 0 20001 ip4-10-0-0-1.deployd"])
        self.assertEqual(house.ask("_http._tcp.webapp.deployd").verdict, Verdict.EMPTY)

    def test_hosts_that_no_packet_can_say_are_left_out(self) -> None:
        hosts = ["a..b", "." * 3, "a:b", "fe80::1%eth0", "a" * 64, "a%b"]
        house = House(*(row(f"r{n}", host=host) for n, host in enumerate(hosts)))
        for kind in (dns.A, dns.AAAA, dns.SRV):
            self.assertEqual(house.ask("http.webapp.deployd", kind).verdict, Verdict.EMPTY)

    def test_marked_rows_are_said_only_when_there_are_no_others(self) -> None:
        rows = [row("a", host="10.0.0.1"), row("b", host="10.0.0.2")]
        self.assertEqual(House(*rows, marked=("a",)).found("http.webapp.deployd"), ["10.0.0.2"])
        self.assertEqual(House(*rows, marked=("a", "b")).found("http.webapp.deployd"), ["10.0.0.2", "10.0.0.1"])

    def test_digits_of_two_commits_find_neither(self) -> None:
        twin = COMMIT[:10] + "0" * 30
        house = House(row("a", host="10.0.0.1"), row("b", host="10.0.0.2", namespace=twin))
        self.assertEqual(house.ask(f"http.{COMMIT[:10]}.deployd").verdict, Verdict.NO_SUCH_NAME)
        self.assertEqual(house.found(f"http.{COMMIT[:12]}.deployd"), ["10.0.0.1"])

    def test_nobody_slips_in_by_a_namespace_that_looks_like_a_commit(self) -> None:
        fake = row("b", host="6.6.6.6", namespace=SHORT, app="", release="")
        self.assertEqual(House(row("a", host="10.0.0.1"), fake).found(f"http.{SHORT}.deployd"), ["10.0.0.1"])

    def test_answers_and_the_looking_for_them_are_bounded(self) -> None:
        house = House(*(row(f"r{n:05}", port=n + 1, host=f"10.0.{n >> 8}.{n & 255}") for n in range(5000)))
        self.assertEqual(len(house.found("http.webapp.deployd")), MAX_RECORDS)
        self.assertEqual(len(house.found("http.webapp.deployd", dns.SRV)), MAX_RECORDS)
        self.assertLessEqual(house.looked, 2 * MAX_ROWS)

    def test_what_is_not_there_is_remembered_for_a_second(self) -> None:
        for name, kind in (("http.nobody.deployd", dns.A), ("http.webapp.deployd", dns.TXT)):
            start = House(row(host="10.0.0.1")).ask(name, kind).start
            assert start is not None
            self.assertEqual((str(start.name), start.ttl), ("deployd", NEGATIVE_TTL))
            self.assertEqual((start.payload.minimum, start.payload.serial), (NEGATIVE_TTL, 7))

    def test_the_zone_says_what_it_is(self) -> None:
        self.assertEqual([record.type for record in House().ask("deployd", dns.SOA).records], [dns.SOA])
        self.assertEqual([record.type for record in House().ask("deployd", dns.NS).records], [dns.NS])

    def test_who_asks_for_everything_gets_little(self) -> None:
        (record,) = House(row(host="10.0.0.1")).ask("http.webapp.deployd", dns.ALL_RECORDS).records
        self.assertEqual(record.payload.cpu, b"RFC8482")
        self.assertEqual(House().ask("http.webapp.deployd", dns.ALL_RECORDS).verdict, Verdict.NO_SUCH_NAME)


class AddressLabelTests(SynchronousTestCase):
    @given(st.ip_addresses().filter(lambda address: getattr(address, "scope_id", None) is None))
    def test_a_label_stands_for_its_address_alone(self, address: Any) -> None:
        label = address_label(address)
        self.assertLess(len(label), 64)
        self.assertEqual(labelled_address(label.upper()), address)

    def test_what_is_written_otherwise_is_none(self) -> None:
        for label in ("ip4-10-0-0-01", "ip4-1-2-3", "ip6-fd00--7", "ip4", "ip4-", "ip5-1-2-3-4", "ip4-1-2-3-999"):
            self.assertIsNone(labelled_address(label), label)
