"""What the drone knows of the cluster, and its rows in whichever registry that names."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.means import Place
from deployd.drone.port_table import PortTable, RegistryTerms
from deployd.drone.surroundings import PATIENCE, Joined, Surroundings
from deployd.errors import NoAnswer, Refused
from deployd.model.registration import Registration
from deployd.testing.rows import FakeOwnedRows

ROW = Registration("http-1", "c0ffee", "http", "", 20001)


class Registries:
    """Makes an owner's rows for each registry that is named, and remembers the terms."""

    def __init__(self) -> None:
        self.made: dict[str, FakeOwnedRows] = {}
        self.terms: list[RegistryTerms] = []
        self.reachable = True

    def make(self, terms: RegistryTerms) -> Any:
        self.terms.append(terms)
        rows = self.made[terms.address] = FakeOwnedRows(credential=terms.credential, advertise=terms.host)
        if not self.reachable:
            rows.disconnect()
        return rows


class PortTableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registries = Registries()
        self.table = PortTable(self.registries.make)

    def use(self, address: str, credential: bytes = b"c", host: str = "h") -> FakeOwnedRows:
        self.table.use(RegistryTerms(address, credential, host))
        return self.registries.made[address]

    def test_a_row_waits_until_there_is_a_registry(self) -> None:
        put = self.table.put(ROW)
        self.assertNoResult(put)
        rows = self.use("a:6000")
        self.assertEqual(self.successResultOf(put), rows.revision)
        self.assertEqual(set(rows.table), {"http-1"})

    def test_frees_rows(self) -> None:
        rows = self.use("a:6000")
        self.table.put(ROW)
        self.successResultOf(self.table.free("http-1"))
        self.assertEqual(rows.table, {})

    def test_rows_and_those_who_wait_move_to_another_registry(self) -> None:
        first = self.use("a:6000")
        self.table.put(ROW)
        first.disconnect()
        waiting = self.table.put(Registration("say-1", "c0ffee", "say", "", 20002))
        second = self.use("b:6000")
        self.assertEqual(set(second.table), {"http-1", "say-1"})
        self.successResultOf(waiting)

    def test_says_goodbye_to_the_registry_that_it_leaves(self) -> None:
        first = self.use("a:6000")
        self.table.put(ROW)
        self.use("b:6000")
        self.assertEqual((first.table, first.running), ({}, 0))

    def test_the_same_registry_with_a_new_credential_keeps_its_session(self) -> None:
        rows = self.use("a:6000")
        self.table.put(ROW)
        self.assertIs(self.use("a:6000", b"newer", "elsewhere"), rows)
        self.assertEqual((rows.credential, rows.advertise, len(self.registries.terms)), (b"newer", "elsewhere", 1))

    def test_one_who_gives_up_waiting_is_not_put_again(self) -> None:
        rows = self.use("a:6000")
        rows.disconnect()
        waiting = self.table.put(ROW)
        waiting.addErrback(lambda _: None).cancel()
        self.assertTrue(waiting.called)

    def test_leaving_frees_everything_and_hanging_up_nothing(self) -> None:
        rows = self.use("a:6000")
        self.table.put(ROW)
        self.successResultOf(self.table.hang_up())
        self.assertEqual(set(rows.table), {"http-1"})
        self.use("b:6000")
        self.successResultOf(self.table.leave())
        self.assertEqual(self.registries.made["b:6000"].table, {})

    def test_without_a_registry_there_is_nobody_to_leave(self) -> None:
        self.successResultOf(self.table.leave())
        self.successResultOf(self.table.hang_up())


def joined(registry: str = "10.0.0.1:6000", git: str = "http://10.0.0.1:6002", host: str = "10.0.0.7") -> Joined:
    return Joined("e1", registry, git, host, b"\x01\x02")


class SurroundingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.registries = Registries()
        self.noted: dict[str, str] = {}
        self.token = "t0k3n"
        self.surroundings = self.begin()

    def begin(self, registry: str = "", advertise: str = "") -> Surroundings:
        def note(**facts: str) -> Deferred[None]:
            self.noted |= facts
            return succeed(None)

        table = PortTable(self.registries.make)
        return Surroundings(self.clock, table, registry, advertise, note, lambda: self.token)

    def test_tells_apps_what_the_hub_and_the_registry_said(self) -> None:
        self.surroundings.joined(joined())
        place = self.successResultOf(self.surroundings.place())
        self.assertEqual(place, Place("10.0.0.7", "10.0.0.1:6000", "http://127.0.0.1:6080"))
        self.assertEqual(self.registries.terms, [RegistryTerms("10.0.0.1:6000", b"\x01\x02", "10.0.0.7")])

    def test_the_operators_words_go_first(self) -> None:
        self.surroundings = self.begin("tls:registry.example:7000:trustRoots=/etc/ca", "apps.example")
        self.surroundings.joined(joined())
        place = self.successResultOf(self.surroundings.place())
        self.assertEqual((place.host, place.registry), ("apps.example", "registry.example:7000"))

    def test_tells_apps_all_addresses_where_there_are_several(self) -> None:
        self.surroundings = self.begin("r1:6000,tls:r2:7000:trustRoots=/etc/ca")
        self.surroundings.joined(joined())
        self.assertEqual(self.successResultOf(self.surroundings.place()).registry, "r1:6000,r2:7000")

    def test_goes_on_without_the_hub_after_a_restart(self) -> None:
        self.surroundings.joined(joined())
        before = self.successResultOf(self.surroundings.place())
        self.registries.reachable = False
        self.surroundings = self.begin()
        self.surroundings.recall(self.noted)
        self.assertEqual(self.successResultOf(self.surroundings.place()), before)
        self.assertEqual(self.registries.terms[-1], self.registries.terms[0])

    def test_waits_ten_seconds_for_a_registry_that_was_never_reached_and_says_so(self) -> None:
        self.registries.reachable = False
        self.surroundings.joined(joined())
        place = self.surroundings.place()
        self.clock.advance(PATIENCE)
        failure = self.failureResultOf(place, NoAnswer)
        self.assertEqual(str(failure.value), "the registry at 10.0.0.1:6000 does not answer")
        self.registries.made["10.0.0.1:6000"].connect()
        self.successResultOf(self.surroundings.place())

    def test_apps_are_never_told_the_address_of_one_registry_and_the_url_of_another(self) -> None:
        self.surroundings.joined(joined())
        self.successResultOf(self.surroundings.place())
        self.registries.reachable = False
        self.surroundings.joined(joined("10.0.0.2:6000"))
        self.assertEqual((self.noted["registry"], self.noted["url"]), ("10.0.0.2:6000", ""))
        place = self.surroundings.place()
        self.assertNoResult(place)
        self.registries.made["10.0.0.2:6000"].connect()
        told = self.successResultOf(place)
        self.assertEqual((told.registry, told.registry_url), ("10.0.0.2:6000", "http://127.0.0.1:6080"))

    def test_the_url_of_a_private_registry_has_a_token_in_it_that_is_never_saved(self) -> None:
        self.surroundings.joined(joined())
        self.registries.made["10.0.0.1:6000"].private = True
        url = "http://127.0.0.1:6080/token/t0k3n"
        self.assertEqual(self.successResultOf(self.surroundings.place()).registry_url, url)
        self.registries.reachable = False
        self.surroundings = self.begin()
        self.surroundings.recall(self.noted)
        self.assertEqual(self.successResultOf(self.surroundings.place()).registry_url, url)
        self.assertNotIn("t0k3n", str(self.noted))

    def test_where_there_is_no_secret_there_is_no_token(self) -> None:
        self.token = ""
        self.surroundings.joined(joined())
        self.registries.made["10.0.0.1:6000"].private = True
        self.assertEqual(self.successResultOf(self.surroundings.place()).registry_url, "http://127.0.0.1:6080")

    def test_says_that_nobody_has_named_a_registry(self) -> None:
        self.surroundings.joined(joined(registry=""))
        failure = self.failureResultOf(self.surroundings.place(), Refused)
        self.assertIn("give the hub or this drone --registry", str(failure.value))

    def test_knows_where_the_repositories_are_once_it_has_joined(self) -> None:
        with self.assertRaises(NoAnswer):
            self.surroundings.git_url("webapp")
        self.surroundings.joined(joined())
        self.assertEqual(self.surroundings.git_url("team/webapp"), "http://10.0.0.1:6002/team/webapp.git")

    def test_addresses_of_a_hub_that_knows_itself_by_loopback_are_those_it_was_dialled_at(self) -> None:
        answer = joined("127.0.0.1:6000", "https://127.0.0.1:6002")
        self.assertEqual(answer.seen_from("10.0.0.9"), joined("10.0.0.9:6000", "https://10.0.0.9:6002"))
        plain = joined("127.0.0.1:6000", "http://127.0.0.1:6002")
        self.assertEqual(plain.seen_from("localhost"), plain)
        self.assertEqual(answer.seen_from("localhost").git, "https://localhost:6002", "the name in its certificate")
        several = joined("127.0.0.1:6000,10.0.0.2:6000").seen_from("10.0.0.9")
        self.assertEqual(several.registry, "10.0.0.9:6000,10.0.0.2:6000")
        endpoint = joined("tls:127.0.0.1:6000:trustRoots=/etc/ca")
        self.assertEqual(endpoint.seen_from("10.0.0.9").registry, endpoint.registry)

    def test_does_not_show_its_credential(self) -> None:
        self.assertNotIn("credential", repr(joined()))
