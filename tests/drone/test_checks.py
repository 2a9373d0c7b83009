"""Commands as checks; connections are in tests/integration/test_probing.py."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.checks import COMMANDS_AT_ONCE, Checks
from deployd.drone.means import Outcome
from deployd.errors import NoAnswer, Refused
from deployd.model.role import EXEC, Check
from deployd.processes.exits import Exit

CHECK = Check(EXEC, command="bin/check", timeout=2.0)


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.checks = Checks(self.clock)
        self.running: list[Deferred[Exit]] = []
        self.cancelled: list[Deferred[Exit]] = []

    def command(self) -> Deferred[Exit]:
        self.running.append(Deferred(self.cancelled.append))
        return self.running[-1]

    def ask(self, app: str = "webapp") -> Deferred[Outcome]:
        return self.checks.ask(app, CHECK, ("127.0.0.1", 0), self.command)

    def test_exit_code_0_passes_and_nothing_else(self) -> None:
        for how, passed, text in (
            (Exit(0), True, "exited with code 0"),
            (Exit(1), False, "exited with code 1"),
            (Exit(None, 9), False, "was ended by SIGKILL"),
            (Exit(None), False, "was lost: its keeper has died"),
        ):
            asked = self.ask()
            self.running[-1].callback(how)
            self.assertEqual(self.successResultOf(asked), Outcome(passed, text))

    def test_one_that_takes_too_long_is_cancelled(self) -> None:
        asked = self.ask()
        self.clock.advance(2.1)
        self.assertEqual(self.successResultOf(asked), Outcome(False, "no answer within 2 s"))
        self.assertEqual(self.cancelled, self.running)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_cannot_be_run_does_not_pass(self) -> None:
        for error, text in (
            (Refused("no more processes"), "no more processes"),
            (NoAnswer("x"), "no answer within 2 s"),
        ):
            asked = self.checks.ask("webapp", CHECK, ("127.0.0.1", 0), lambda error=error: fail(error))
            self.assertEqual(self.successResultOf(asked), Outcome(False, text))

    def test_only_so_many_run_at_once_and_who_waits_has_his_time_left(self) -> None:
        asked = [self.ask() for _ in range(COMMANDS_AT_ONCE + 1)]
        self.assertEqual(len(self.running), COMMANDS_AT_ONCE)
        self.clock.advance(1.9)
        self.running[0].callback(Exit(0))
        self.clock.advance(1.9)
        self.assertNoResult(asked[-1])
        self.running[-1].callback(Exit(0))
        self.assertTrue(self.successResultOf(asked[-1]).passed)

    def test_those_that_hang_keep_no_other_app_waiting(self) -> None:
        for _ in range(COMMANDS_AT_ONCE + 1):
            self.ask("hung")
        asked = self.ask("well")
        self.running[-1].callback(Exit(0))
        self.assertTrue(self.successResultOf(asked).passed)

    def test_a_cancelled_one_makes_room(self) -> None:
        asked = [self.ask() for _ in range(COMMANDS_AT_ONCE + 1)]
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.assertEqual(len(self.running), COMMANDS_AT_ONCE + 1)
