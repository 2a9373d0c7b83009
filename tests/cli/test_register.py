"""``deployctl register``: a row that stands for exactly as long as its program listens."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from deployd.cli.register_checks import PATIENCE, OthersPort
from deployd.cli.register_owner import Owner
from deployd.cli.register_program import PortOf
from deployd.cli.register_row import SLOW, STEADY_LOOK, Standing, Terms
from deployd.cli.register_words import environment, owner_name, port_range, registration, row_id, version_warning
from deployd.errors import NotOwner, PermissionRefused, Refused, SecretRefused, Superseded, UsageError
from deployd.model.address import Address
from deployd.model.invalid import Invalid
from deployd.model.names import drone_name
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.identity import Identity
from deployd.planning.restarts import FIRST, STEADY
from deployd.processes.exits import Exit
from deployd.processes.ports import Ports
from deployd.testing.rows import FakeOwnedRows
from tests.cli.commands import deployctl
from tests.cli.registries import RegistryBench, row

ROW = Registration("web-1", "default", "http", "", 8080, version="1.2.3")
COMMIT = "74336bc1db98478e02e69f59e7100895be207389"


class WordTests(SynchronousTestCase):
    def test_a_row_is_a_role_with_a_version_and_metadata(self) -> None:
        made = registration(
            "http@1.2.3", meta=["zone=eu", "n=2"], meta_json='{"n": 1, "o": {"a": []}}', host="h.example"
        )
        self.assertEqual(
            (made.role, made.version, made.namespace, made.host), ("http", "1.2.3", "default", "h.example")
        )
        self.assertEqual(made.meta, {"n": 2, "o": {"a": []}, "zone": "eu"})
        self.assertEqual(registration("http").version, "")

    def test_what_no_row_can_be_is_refused_before_anything_is_started(self) -> None:
        for arguments, error in (
            ({"what": "a b"}, Invalid),
            ({"what": "http@"}, UsageError),
            ({"what": "http@1 2"}, Invalid),
            ({"what": "http", "namespace": "a b"}, Invalid),
            ({"what": "http", "namespace": COMMIT}, PermissionRefused),
            ({"what": "http", "host": "a b"}, Invalid),
            ({"what": "http", "id": "-"}, Invalid),
            ({"what": "http", "meta": ["zone"]}, UsageError),
            ({"what": "http", "meta_json": "[1]"}, UsageError),
            ({"what": "http", "meta_json": "{"}, UsageError),
            ({"what": "http", "meta_json": json.dumps({"a": "b" * 5000})}, Invalid),
        ):
            self.assertRaises(error, lambda arguments=arguments: registration(**arguments))

    def test_a_version_that_no_range_finds_is_worth_a_word(self) -> None:
        for version in ("15", "15.2", "latest", "1.2.3.4", "1.x.3"):
            self.assertIn("no range finds it: only db alone", version_warning(registration(f"db@{version}")))
        for what in ("db", "db@1.2.3", "db@v1.2.3-rc.1+5", "db@0.0.0"):
            self.assertEqual(version_warning(registration(what)), "")

    def test_an_owner_gets_the_same_id_for_the_same_service(self) -> None:
        self.assertEqual(row_id(ROW, "me"), row_id(evolve(ROW, version="2", port=1), "me"))
        others = {row_id(ROW, "you"), row_id(evolve(ROW, role="say"), "me"), row_id(evolve(ROW, namespace="x"), "me")}
        self.assertEqual(len(others | {row_id(ROW, "me")}), 4)

    def test_an_owner_shows_a_name_that_drones_may_have(self) -> None:
        drone_name(owner_name())

    def test_a_range_of_ports(self) -> None:
        self.assertEqual(port_range("20000-20001"), (20000, 20001))
        for wrong in ("0-1", "2-1", "1-65536", "1", "a-b", "1-2-3"):
            self.assertRaises(UsageError, port_range, wrong)

    def test_a_program_gets_the_callers_environment_without_secrets(self) -> None:
        caller = {
            "PATH": "/bin",
            "DEPLOYD_SECRET": "s",
            "DEPLOYD_SECRET_X": "s",
            "DEPLOYD_KEY": "k",
            "PORT": "1",
            "OWN": "x",
        }
        found = environment(
            caller, port=8080, host="127.0.0.1", registry="r:6000", url="http://r:6080/", namespace="default"
        )
        self.assertEqual(
            found,
            {
                "PATH": "/bin",
                "OWN": "x",
                "PORT": "8080",
                "HOST": "127.0.0.1",
                "DEPLOYD_REGISTRY": "r:6000",
                "DEPLOYD_REGISTRY_URL": "http://r:6080",
                "DEPLOYD_PEERS_URL": "http://r:6080/v1/ports/default?app=",
            },
        )

    def test_wrong_usage_is_one_sentence_and_exit_2(self) -> None:
        for arguments in (
            ["register"],
            ["register", "http"],
            ["register", "http", "--port", "0", "--", "true"],
            ["register", "http", "--port-range", "1", "--", "true"],
            ["register", "http", "--check", "udp", "--", "true"],
            ["register", "a b", "--", "true"],
            ["register", "http", "--meta", "zone", "--", "true"],
        ):
            ran = deployctl(*arguments)
            self.assertEqual((ran.code, len(ran.error.splitlines())), (2, 1), (arguments, ran))


class FakeProgram:
    """Ends when a test says so."""

    port = 8080

    def __init__(self) -> None:
        self.starts = 0
        self.ends: list[float] = []
        self.refusal: Refused | None = None
        self._ended: Callable[[Exit], None] = lambda how: None

    def start(self, ended: Callable[[Exit], None]) -> None:
        self.starts += 1
        if self.refusal is not None:
            raise self.refusal
        self._ended = ended

    def end(self, grace: float) -> Deferred[None]:
        self.ends.append(grace)
        return succeed(None)

    def exit(self, code: int | None = 1, signal: int | None = None) -> None:
        self._ended(Exit(code, signal))


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, row: Registration, revision: Revision) -> None:
        self.lines.append("put")

    def freed(self, row: Registration) -> None:
        self.lines.append("freed")

    def note(self, sentence: str) -> None:
        self.lines.append(sentence)


class StandingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rows = FakeOwnedRows(name="me")
        self.program = FakeProgram()
        self.said = Said()
        self.why = "nothing listens"

    def begin(self, program: bool = True, **terms: Any) -> Deferred[int]:
        async def check(first: bool) -> str:
            return self.why

        self.standing = Standing(
            self.clock,
            self.rows,
            ROW,
            check,
            self.program if program else None,
            self.said,
            Terms(**{"grace": 3.0} | terms),
            lambda: 0.0,
        )
        running = Deferred.fromCoroutine(self.standing.run())
        self.addCleanup(self.end, running)
        return running

    def end(self, running: Deferred[int]) -> None:
        self.standing.stop(0)
        running.addErrback(lambda _: None)

    def listen(self) -> None:
        self.why = ""
        self.clock.advance(STEADY_LOOK)

    def stop_listening(self) -> None:
        self.why = "nothing listens"
        self.clock.advance(STEADY_LOOK)

    @property
    def table(self) -> list[str]:
        return list(self.rows.table)


class StandingTests(StandingCase):
    def test_a_program_is_registered_once_it_listens(self) -> None:
        self.begin()
        self.assertEqual(self.program.starts, 1)
        self.clock.pump([STEADY_LOOK] * 4)
        self.assertEqual((self.table, self.rows.running), ([], 0))
        self.listen()
        self.assertEqual((self.table, self.said.lines), (["web-1"], ["put"]))

    def test_it_is_freed_as_soon_as_it_is_gone_and_comes_back_with_its_row(self) -> None:
        self.begin()
        self.listen()
        self.program.exit(7)
        self.assertEqual(self.table, [])
        self.assertEqual(self.program.ends, [3.0])
        self.clock.advance(FIRST - 0.1)
        self.assertEqual(self.program.starts, 1)
        self.clock.advance(0.2)
        self.assertEqual((self.program.starts, self.table), (2, ["web-1"]))
        self.assertIn("the command exited with code 7; starting it again in 0.5 s", self.said.lines)

    def test_a_port_that_another_has_taken_meanwhile_is_another_in_the_row(self) -> None:
        self.begin()
        self.listen()
        self.program.exit()
        self.program.port = 8081
        self.clock.advance(FIRST)
        self.assertEqual([found.port for found in self.rows.table.values()], [8081])

    def test_one_that_ends_again_and_again_is_started_less_and_less(self) -> None:
        self.begin()
        self.why = ""
        for seconds in (0.5, 1.0, 2.0, 4.0):
            starts = self.program.starts
            self.program.exit(0)
            self.clock.advance(seconds - 0.01)
            self.assertEqual(self.program.starts, starts)
            self.clock.advance(0.02)
            self.assertEqual(self.program.starts, starts + 1)

    def test_a_steady_minute_makes_it_start_at_once_again(self) -> None:
        self.begin()
        for _ in range(5):
            self.program.exit()
            self.clock.advance(60)
        self.listen()
        self.clock.pump([STEADY_LOOK] * int(STEADY / STEADY_LOOK + 2))
        starts = self.program.starts
        self.program.exit()
        self.clock.advance(FIRST)
        self.assertEqual(self.program.starts, starts + 1)

    def test_it_is_freed_while_it_does_not_listen(self) -> None:
        self.begin()
        self.listen()
        self.stop_listening()
        self.assertEqual((self.table, self.program.ends), ([], []))
        self.listen()
        self.assertEqual(self.table, ["web-1"])

    def test_one_that_never_listens_is_worth_a_word(self) -> None:
        self.begin()
        self.clock.pump([0.5] * int(3 * SLOW))
        self.assertEqual(self.said.lines, ["nothing listens, so nothing is registered yet"])

    def test_without_restart_the_end_is_that_of_the_program(self) -> None:
        for code, signal, expected in ((7, None, 7), (0, None, 0), (None, 9, 137)):
            running = self.begin(restart=False)
            self.listen()
            self.program.exit(code, signal)
            self.assertEqual((self.successResultOf(running), self.table), (expected, []))
            self.setUp()

    def test_a_stop_frees_first_then_ends_the_program(self) -> None:
        running = self.begin()
        self.listen()
        self.standing.stop(130)
        self.assertEqual((self.successResultOf(running), self.table, self.program.ends), (130, [], [3.0]))

    def test_a_stop_ends_a_pause_too(self) -> None:
        running = self.begin()
        self.program.exit()
        self.standing.stop(0)
        self.assertEqual((self.successResultOf(running), self.program.starts), (0, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_second_stop_does_not_wait(self) -> None:
        ending: Deferred[None] = Deferred()
        self.program.end = lambda grace: self.program.ends.append(grace) or ending  # type: ignore[method-assign,func-returns-value]
        running = self.begin()
        self.listen()
        self.standing.stop(0)
        self.standing.stop(0)
        self.assertEqual(self.program.ends, [3.0, 0.0])
        ending.callback(None)
        self.assertEqual(self.successResultOf(running), 0)

    def test_a_row_that_the_registry_refuses_ends_all_of_it(self) -> None:
        self.rows.refusals["web-1"] = NotOwner("web-1 belongs to another owner")
        running = self.begin()
        self.listen()
        self.failureResultOf(running, NotOwner)
        self.assertEqual(self.program.ends, [3.0])

    def test_a_program_that_cannot_be_started_is_an_error_at_first_and_a_fault_later(self) -> None:
        running = self.begin()
        self.listen()
        self.program.refusal = Refused("gone")
        self.program.exit()
        self.clock.advance(FIRST)
        self.clock.advance(2 * FIRST)
        self.assertNoResult(running)
        self.assertEqual(self.program.starts, 3)
        self.failureResultOf(self.begin(), Refused)

    def test_what_happens_while_the_registry_is_away_is_made_good(self) -> None:
        self.begin()
        self.listen()
        self.rows.disconnect()
        self.program.exit()
        self.assertEqual(self.table, ["web-1"])
        self.rows.connect()
        self.assertEqual(self.table, [])
        self.clock.advance(FIRST)
        self.assertEqual(self.table, ["web-1"])

    def test_somebody_elses_port_is_registered_while_it_answers(self) -> None:
        running = self.begin(program=False)
        self.listen()
        self.assertEqual(self.table, ["web-1"])
        self.stop_listening()
        self.assertEqual(self.table, [])
        self.listen()
        self.standing.stop(0)
        self.assertEqual((self.successResultOf(running), self.table), (0, []))

    def test_a_row_of_an_earlier_run_is_not_freed_meanwhile(self) -> None:
        self.rows.table = {"web-1": ROW}
        self.begin(again=True)
        self.listen()
        self.assertNotIn(frozenset(), self.rows.tables)
        self.assertEqual(self.table, ["web-1"])


class OwnerTests(SynchronousTestCase):
    """Runs with one key, against a registry over iosim."""

    def setUp(self) -> None:
        self.bench = RegistryBench()
        self.addCleanup(self.bench.close)
        self.identity = Identity.create()
        self.said: list[str] = []

    def run_with(self, port: int) -> tuple[Owner, Deferred[int]]:
        mine = evolve(row("web-1", port=port), owner=self.identity.owner)
        owner = Owner(
            self.bench.cluster, "registry:6000", self.identity, mine, "", lambda text, line: self.said.append(text)
        )

        async def check(first: bool) -> str:
            return ""

        owner.standing = Standing(
            self.bench.clock, owner.rows, mine, check, None, Said(), Terms(again=True), lambda: 0.0
        )
        running = self.bench.start(owner.standing.run())
        self.addCleanup(owner.standing.stop, 0)
        self.bench.network.advance(1, 0.1)
        return owner, running

    def test_the_later_run_stays_and_the_earlier_one_ends(self) -> None:
        _, first = self.run_with(1)
        _, second = self.run_with(2)
        self.bench.network.advance(3, 0.1)
        self.failureResultOf(first, Superseded)
        self.bench.network.advance(60)
        self.assertNoResult(second)

    def test_runs_that_lose_the_registry_together_do_not_fight_either(self) -> None:
        runs = [self.run_with(port) for port in (1, 2, 3)]
        self.bench.network.cut()
        self.bench.network.advance(30)
        self.assertEqual([bool(running.called) for _, running in runs], [True, True, False])
        for _, running in runs[:2]:
            self.failureResultOf(running, Superseded)

    def test_a_name_that_the_registry_gives_us_is_no_other_run(self) -> None:
        owner, running = self.run_with(1)
        owner._name = "not what the registry calls us"
        self.bench.network.cut()
        self.bench.network.advance(10)
        self.assertNoResult(running)

    def test_a_port_that_we_had_before_is_no_other_run(self) -> None:
        owner, running = self.run_with(1)
        owner.standing.row = evolve(owner.standing.row, port=2)
        owner.standing.ports.add(2)
        self.bench.network.cut()
        self.bench.network.advance(10)
        self.assertNoResult(running)

    def test_a_registry_that_comes_back_is_no_other_run(self) -> None:
        _, running = self.run_with(1)
        self.bench.network.up = False
        self.bench.network.cut()
        self.bench.network.advance(10)
        self.bench.network.up = True
        self.bench.network.advance(10)
        self.assertNoResult(running)
        self.assertEqual(self.said[-1], "the registry is back")
        self.assertEqual(len(self.said), 2)

    def test_an_id_that_is_another_owners_is_told_once(self) -> None:
        self.run_with(1)
        self.identity = Identity.create()
        _, running = self.run_with(2)
        self.failureResultOf(running, NotOwner)
        self.assertEqual(self.said, [])

    def test_a_secret_that_is_refused_at_first_ends_it(self) -> None:
        owner, running = self.run_with(1)
        owner._failed(SecretRefused("the secret is wrong"))
        self.assertNoResult(running)
        owner.standing.has_stood = False
        owner._failed(SecretRefused("the secret is wrong"))
        self.bench.network.advance(3)
        self.failureResultOf(running, SecretRefused)

    def test_so_does_a_session_that_may_not_write(self) -> None:
        owner, running = self.run_with(1)
        owner.standing.has_stood = False
        owner._failed(PermissionRefused("the row, which is told better in a moment"))
        self.assertNoResult(running)
        owner._failed(PermissionRefused("no"))
        self.bench.network.advance(3)
        self.failureResultOf(running, PermissionRefused)


class PortTests(SynchronousTestCase):
    """Of the program, over its starts."""

    def setUp(self) -> None:
        self.ports = Ports(*self.two_free(), Clock())
        self.addCleanup(self.ports.close)

    def two_free(self) -> tuple[int, int]:
        """Two ports beside each other that nobody has."""
        for first in range(61000, 65000, 2):
            with contextlib.suppress(OSError), socket.create_server(("", first)), socket.create_server(("", first + 1)):
                return first, first + 1
        raise SkipTest("no two free ports")

    def test_it_stays_over_a_restart_while_it_is_free(self) -> None:
        port = PortOf(self.ports, None)
        before = port.number
        port.renew()
        self.assertEqual(port.number, before)

    def test_one_that_another_program_has_taken_is_given_up(self) -> None:
        port = PortOf(self.ports, None)
        before = port.number
        with socket.create_server(("", before)):
            port.renew()
        self.assertNotEqual(port.number, before)

    def test_one_that_was_asked_for_is_that_or_none(self) -> None:
        wanted = PortOf(self.ports, None).number
        self.assertRaises(Refused, PortOf, Ports(wanted, wanted, Clock()), wanted)


@implementer(IStreamClientEndpoint)
class Way:
    """Leads to whatever a test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        protocol = protocolFactory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        return succeed(protocol)


class OthersPortTests(SynchronousTestCase):
    def test_a_refusal_counts_at_once_and_silence_when_it_lasts(self) -> None:
        way = Way()
        check = OthersPort(way, Address("10.0.0.1", 80))

        def said(first: bool = False) -> str:
            return self.successResultOf(Deferred.fromCoroutine(check(first)))

        self.assertEqual(said(True), "")
        way.error = TimeoutError()
        self.assertEqual([bool(said()) for _ in range(PATIENCE)], [False] * (PATIENCE - 1) + [True])
        way.error = None
        self.assertEqual(said(), "")
        way.error = ConnectionRefusedError()
        self.assertEqual(said(), "10.0.0.1:80 refuses connections")
