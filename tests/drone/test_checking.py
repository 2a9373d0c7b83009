"""When an instance is ready, what is told while it is not, and when it is not well any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.attempt import Attempt
from deployd.drone.checking import TELL, TICK, check_of, until_ready, until_unhealthy
from deployd.drone.custody import Kept
from deployd.drone.isolation import Isolation
from deployd.drone.means import Means, Outcome, Place
from deployd.errors import NoAnswer
from deployd.model.instance import AssignedInstance
from deployd.model.role import EXEC, HTTP, TCP, Check, Limits, RoleSettings
from deployd.processes.custody import Holding
from deployd.processes.exits import Exit
from deployd.processes.listeners import Bind
from deployd.processes.ports import Port
from deployd.processes.trees import ProcessRef
from deployd.testing.keeper import FakeKeeper

PORT = 20001
BIND = ("127.0.0.1", PORT)
SESSION = ProcessRef(100, "boot:1")
OWN = Holding(frozenset({7}))
REFUSED = Outcome(False, "connection refused")
WELL = Outcome(True)


class World:
    """Answers everybody's questions with what the test says."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = REFUSED
        self.held = OWN
        self.waiting = 0
        self.near: tuple[str, ...] = ()
        self.far: tuple[str, ...] = ()
        self.asked: list[float] = []
        self.clock = Clock()
        self.keeper = FakeKeeper(self.clock)
        self.means = cast(
            Means,
            SimpleNamespace(
                reactor=self.clock,
                checks=self,
                custody=self,
                isolation=Isolation(),
                jitter=lambda: 0.5,
                keeper=self.keeper,
                end=lambda *_: succeed(None),
            ),
        )

    def ask(self, app: str, check: Check, bind: Bind, run: Callable[[], Deferred[Exit]]) -> Deferred[Outcome]:
        self.asked.append(self.clock.seconds())
        if check.kind == EXEC and self.outcome is None:
            return run().addCallback(lambda how: Outcome(how.code == 0, how.text))
        return succeed(self.outcome) if self.outcome else Deferred()

    def holding(self, id: str, session: ProcessRef | None, bind: Bind) -> Deferred[Holding]:
        return succeed(self.held)

    def queued(self, bind: Bind) -> Deferred[int]:
        return succeed(self.waiting)

    def listening(self, id: str, session: ProcessRef | None, closely: bool = False) -> Deferred[tuple[str, ...]]:
        return succeed(self.far if closely else self.near)


def attempt(check: Check | None = None, port: bool = True, socket: bool = False, bind: str = "127.0.0.1") -> Attempt:
    settings = RoleSettings(check=check, socket=socket, limits=Limits(files=100))
    line = AssignedInstance("http-1", "webapp", "v1", "c" * 40, "http", ("serve",), port, settings=settings)
    place = Place("127.0.0.1", "127.0.0.1:6000", "http://127.0.0.1:6080")
    one: dict[str, Any] = {"port": Port(PORT) if port else None, "cwd": Path("/checkout"), "env": {"PATH": "/bin"}}
    return Attempt(line=line, place=place, bind=bind, **one)


class CheckingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.said: list[str] = []

    def until_ready(self, asked: Attempt) -> Deferred[Kept | None]:
        return Deferred.fromCoroutine(until_ready(self.world.means, asked, "http-1", SESSION, self.said.append))

    def pass_time(self, seconds: float, step: float = 0.005) -> None:
        for _ in range(round(seconds / step)):
            self.world.clock.advance(step)

    def no_answer(self, waiting: Deferred[Any]) -> str:
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
        return str(self.failureResultOf(waiting, NoAnswer).value)


class ReadyTests(CheckingCase):
    def test_one_without_port_and_check_is_ready_when_it_has_run_for_a_second(self) -> None:
        for check in (None, Check(TCP)):
            waiting = self.until_ready(attempt(check, port=False))
            self.pass_time(0.99)
            self.assertNoResult(waiting)
            self.pass_time(0.02)
            self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual(self.world.asked, [])

    def test_one_whose_port_answers_and_is_its_own_is_ready_at_once(self) -> None:
        self.world.outcome = WELL
        kept = self.successResultOf(self.until_ready(attempt()))
        self.assertEqual(kept, Kept("http-1", SESSION, BIND, frozenset({7}), known=True))
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_it_is_asked_quickly_at_first_and_ten_times_a_second_later(self) -> None:
        waiting = self.until_ready(attempt())
        self.pass_time(0.1)
        self.assertGreater(len(self.world.asked), 4)
        self.pass_time(10)
        self.assertLess(len(self.world.asked), 120)
        self.world.outcome = WELL
        self.pass_time(0.11)
        self.successResultOf(waiting)

    def test_commands_and_requests_are_asked_less_often_but_soon_at_first(self) -> None:
        waiting = self.until_ready(attempt(Check(HTTP, interval=5.0)))
        self.pass_time(1)
        self.assertGreater(len(self.world.asked), 8)
        self.pass_time(59)
        self.assertLess(len(self.world.asked), 30)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_a_stranger_on_its_port_is_named_at_once_and_waited_for(self) -> None:
        self.world.outcome = WELL
        self.world.held = Holding(frozenset({9}), stranger=4242, known=False)
        waiting = self.until_ready(attempt())
        self.assertEqual(set(self.said), {"port 20001 is held by another process (pid 4242)"})
        self.world.held = OWN
        self.pass_time(0.3)
        self.successResultOf(waiting)

    def test_who_cannot_be_seen_is_taken_for_the_app(self) -> None:
        self.world.outcome = WELL
        self.world.held = Holding(frozenset({9}), known=False)
        kept = self.successResultOf(self.until_ready(attempt()))
        self.assertEqual(kept and kept.known, False)

    def test_a_command_that_passes_says_nothing_of_the_port(self) -> None:
        self.world.outcome = WELL
        self.world.held = Holding(frozenset(), known=False)
        waiting = self.until_ready(attempt(Check(EXEC, command="true")))
        self.pass_time(2.1)
        self.assertEqual(
            self.said, ["its check `true` does not pass yet (nothing listens on port 20001); it listens on no port"]
        )
        self.world.held = OWN
        self.pass_time(5)
        self.successResultOf(waiting)

    def test_a_command_is_run_as_a_process_of_its_own(self) -> None:
        self.world.outcome = None
        waiting = self.until_ready(attempt(Check(EXEC, command="bin/check"), port=False))
        process = self.world.keeper.processes[-1]
        launch = process.launch
        self.assertEqual((launch.id, launch.argv), ("http-1.check", ("/bin/sh", "-c", "bin/check")))
        self.assertEqual(
            (launch.env["PROCESS_ID"], launch.env["PATH"], launch.cwd), ("http-1.check", "/bin", "/checkout")
        )
        self.assertEqual((launch.log, launch.listen, launch.limits), ("", "", Limits(files=100)))
        process.exit(0)
        self.pass_time(0.01)
        self.assertIsNone(self.successResultOf(waiting))


class SocketTests(CheckingCase):
    """Its socket is open before it: that a connection is made says nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.world.outcome = WELL
        self.world.waiting = 1
        self.world.near = (f"127.0.0.1:{PORT}",)

    def test_it_is_ready_once_it_has_accepted_the_one_connection_that_asks(self) -> None:
        waiting = self.until_ready(attempt(socket=True))
        self.pass_time(2.1)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.world.asked), 1)
        self.assertEqual(self.said, ["does not answer on port 20001 yet (nobody accepts connections on its socket)"])
        self.world.waiting = 0
        self.pass_time(0.11)
        self.successResultOf(waiting)

    def test_an_answer_to_a_request_needs_no_such_proof(self) -> None:
        self.successResultOf(self.until_ready(attempt(Check(HTTP), socket=True)))

    def test_its_own_process_must_have_the_socket(self) -> None:
        """Not only the keeper, which is no stranger."""
        self.world.waiting = 0
        self.world.held = Holding(frozenset({7}), known=False)
        waiting = self.until_ready(attempt(socket=True))
        self.pass_time(1)
        self.assertNoResult(waiting)
        self.world.held = OWN
        self.pass_time(0.11)
        self.successResultOf(waiting)


class DiagnosisTests(CheckingCase):
    def given_up(self, check: Check | None = None, bind: str = "127.0.0.1") -> str:
        asked = attempt(check and evolve(check, deadline=120.0), bind=bind)
        waiting = self.until_ready(asked)
        self.pass_time(119.9, 0.1)
        self.assertNoResult(waiting)
        self.pass_time(0.2, 0.1)
        return self.no_answer(waiting)

    def setUp(self) -> None:
        super().setUp()
        self.world.far = (f"127.0.0.1:{PORT}",)

    def test_one_on_another_port_is_told_which(self) -> None:
        self.world.far = ("127.0.0.1:3000", "[::]:3001")
        expected = (
            "does not answer on port 20001 after 120 s (connection refused); it listens on 127.0.0.1:3000, [::]:3001"
        )
        self.assertEqual(self.given_up(), expected)

    def test_one_that_listens_nowhere_is_told_so(self) -> None:
        self.world.far = ()
        self.assertEqual(
            self.given_up(), "does not answer on port 20001 after 120 s (connection refused); it listens on no port"
        )

    def test_one_on_another_address_is_told_both(self) -> None:
        self.assertEqual(
            self.given_up(bind="10.0.0.5"),
            "does not answer on port 20001 of 10.0.0.5 after 120 s (connection refused); it listens on 127.0.0.1:20001",
        )

    def test_a_bad_status_on_the_right_port_is_no_matter_of_ports(self) -> None:
        self.world.outcome = Outcome(False, "status 500")
        self.assertEqual(
            self.given_up(Check(HTTP, path="/health")),
            "GET /health on port 20001 does not pass after 120 s (status 500)",
        )

    def test_a_command_is_named(self) -> None:
        self.world.outcome = Outcome(False, "exited with code 1")
        self.assertEqual(
            self.given_up(Check(EXEC, command="bin/check")),
            "its check `bin/check` does not pass after 120 s (exited with code 1)",
        )

    def test_a_question_that_never_ends_is_no_answer(self) -> None:
        self.world.outcome = None
        self.assertEqual(self.given_up(Check(HTTP)), "GET / on port 20001 does not pass after 120 s (no answer)")

    def test_a_stranger_that_stays_is_all_there_is_to_say(self) -> None:
        self.world.outcome = WELL
        self.world.held = Holding(frozenset({9}), stranger=4242, known=False)
        self.assertEqual(self.given_up(), "port 20001 is held by another process (pid 4242)")

    def test_what_is_in_the_way_is_told_after_a_while_and_again_when_it_is_something_else(self) -> None:
        waiting = self.until_ready(attempt())
        self.pass_time(TELL - 0.1)
        self.assertEqual(self.said, [])
        self.pass_time(3 * TELL)
        refused = "does not answer on port 20001 yet (connection refused); it listens on "
        self.assertEqual(self.said, [refused + "no port"])
        self.world.near = ("127.0.0.1:3000",)
        self.pass_time(3 * TELL)
        self.assertEqual(self.said, [refused + "no port", refused + "127.0.0.1:3000"])
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])


class UnhealthyTests(CheckingCase):
    def watch(self, check: Check | None = None, port: bool = True) -> Deferred[str]:
        return Deferred.fromCoroutine(until_unhealthy(self.world.means, attempt(check, port), "http-1", SESSION))

    def test_it_is_asked_every_interval_and_first_within_one(self) -> None:
        self.world.outcome = WELL
        watching = self.watch()
        self.pass_time(60, 0.1)
        self.assertNoResult(watching)
        self.assertEqual(len(self.world.asked), 12)
        self.assertLessEqual(self.world.asked[0], 5 + TICK)
        watching.cancel()
        self.failureResultOf(watching, CancelledError)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_so_many_failures_in_a_row_are_the_end(self) -> None:
        self.world.outcome = Outcome(False, "status 500")
        watching = self.watch(Check(failures=3))
        self.pass_time(8.5, 0.1)
        self.assertNoResult(watching)
        self.world.outcome = WELL
        self.pass_time(5, 0.1)
        self.world.outcome = Outcome(False, "status 500")
        self.pass_time(13, 0.1)
        self.assertNoResult(watching)
        self.pass_time(2, 0.1)
        self.assertEqual(self.successResultOf(watching), "3 checks in a row failed: status 500")

    def test_a_single_one_may_be_enough(self) -> None:
        watching = self.watch(Check(failures=1))
        self.pass_time(6, 0.1)
        self.assertEqual(self.successResultOf(watching), "its check failed: connection refused")

    def test_where_there_is_nothing_to_check_it_is_well_for_ever(self) -> None:
        watching = self.watch(port=False)
        self.pass_time(100, 1)
        self.assertNoResult(watching)
        watching.cancel()
        self.failureResultOf(watching, CancelledError)

    @given(st.floats(0.1, 60.0), st.floats(0.0, 1.0), st.floats(0.0, 1e6))
    def test_no_pause_is_shorter_than_the_interval_or_much_longer(
        self, interval: float, jitter: float, now: float
    ) -> None:
        world = World()
        world.clock.advance(now)
        world.outcome = WELL
        world.means.jitter = lambda: jitter  # type: ignore[misc]
        watching = Deferred.fromCoroutine(
            until_unhealthy(world.means, attempt(Check(interval=interval)), "http-1", SESSION)
        )
        for _ in range(5):
            world.clock.advance(world.clock.getDelayedCalls()[0].getTime() - world.clock.seconds() + 1e-9)
        pauses = [after - before for before, after in zip(world.asked, world.asked[1:], strict=False)]
        self.assertTrue(all(0.87 * interval <= pause <= 1.13 * interval for pause in pauses), pauses)
        watching.cancel()
        self.failureResultOf(watching, CancelledError)


class CheckOfTests(SynchronousTestCase):
    def test_a_port_is_asked_by_default_and_only_commands_ask_what_has_none(self) -> None:
        self.assertEqual(check_of(attempt().line), Check())
        self.assertIsNone(check_of(attempt(port=False).line))
        self.assertIsNone(check_of(attempt(Check(HTTP), port=False).line))
        command = Check(EXEC, command="true")
        self.assertEqual(check_of(attempt(command, port=False).line), command)
