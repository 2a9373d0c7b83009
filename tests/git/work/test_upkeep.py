"""Packs are seen to after pushes, one app at a time, and a failure is told once and tried again."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy
from deployd.git.work.upkeep import FIRST_RETRY, IMPATIENT, LAST_RETRY, QUIET, Upkeep


class UpkeepTests(SynchronousTestCase):
    """A clock, and runs that end when a test says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.runs: list[tuple[str, Deferred[object]]] = []
        self.upkeep = Upkeep(self.clock, self.run_one, 8)

    def logged(self) -> list[str]:
        """What is logged from now on."""
        lines: list[str] = []

        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return lines

    def run_one(self, app: str) -> Deferred[object]:
        self.runs.append((app, Deferred()))
        return self.runs[-1][1]

    def push(self, app: str, times: int = 1) -> None:
        for _ in range(times):
            self.upkeep.pushed(app)

    def end(self, failure: Exception | None = None) -> None:
        """The last run ends."""
        if failure:
            self.runs[-1][1].errback(failure)
        else:
            self.runs[-1][1].callback(None)

    def apps(self) -> list[str]:
        return [app for app, _ in self.runs]

    def settle(self) -> None:
        """``webapp`` has had its first turn."""
        self.push("webapp")
        self.clock.advance(QUIET)
        self.end()
        self.runs.clear()

    def test_a_push_that_was_broken_off_is_cleared_up_after(self) -> None:
        """Even where a run was lately."""
        self.settle()
        self.clock.advance(IMPATIENT)
        self.upkeep.broken_off("webapp")
        self.clock.advance(QUIET)
        self.assertEqual(self.apps(), ["webapp"])

    def test_the_first_push_after_a_start(self) -> None:
        """Nobody knows how the packs are, so it is looked at once, a moment later."""
        self.push("webapp")
        self.clock.advance(QUIET - 0.1)
        self.assertEqual(self.apps(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.apps(), ["webapp"])

    def test_then_after_some_pushes(self) -> None:
        """Not after each."""
        self.settle()
        self.push("webapp", 7)
        self.clock.advance(IMPATIENT)
        self.assertEqual(self.apps(), [])
        self.push("webapp")
        self.clock.advance(QUIET)
        self.assertEqual(self.apps(), ["webapp"])

    def test_pushes_that_do_not_end(self) -> None:
        """They put it off, but not for ever."""
        self.push("webapp")
        for _ in range(int(IMPATIENT) - 1):
            self.clock.advance(1)
            self.push("webapp")
        self.assertEqual(self.apps(), [])
        self.clock.advance(1)
        self.assertEqual(self.apps(), ["webapp"])

    def test_one_at_a_time(self) -> None:
        """The next begins when the one before has ended, after a pause as long as that took."""
        self.push("a")
        self.push("b")
        self.clock.advance(QUIET)
        self.clock.advance(30)
        self.assertEqual(self.apps(), ["a"])
        self.end()
        self.clock.advance(29)
        self.assertEqual(self.apps(), ["a"])
        self.clock.advance(1)
        self.assertEqual(self.apps(), ["a", "b"])

    def test_pushes_during_a_run(self) -> None:
        """They count for the next."""
        self.push("webapp")
        self.clock.advance(QUIET)
        self.push("webapp", 8)
        self.end()
        self.clock.advance(QUIET)
        self.assertEqual(self.apps(), ["webapp", "webapp"])

    def test_a_failure(self) -> None:
        """It is logged once, and tried again, later and later, until it succeeds."""
        logged = self.logged()
        self.push("webapp")
        self.clock.advance(QUIET)
        for delay in (FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY):
            self.end(Busy("no room"))
            self.clock.advance(delay - 1)
            runs = len(self.runs)
            self.clock.advance(1)
            self.assertEqual(len(self.runs), runs + 1)
        self.assertEqual(len(logged), 1)
        self.assertIn("webapp", logged[0])
        self.assertIn("no room", logged[0])
        for _ in range(20):
            self.end(Busy("no room"))
            self.clock.advance(LAST_RETRY)
        self.end()
        self.clock.advance(10 * LAST_RETRY)
        self.assertEqual(len(self.runs), 24)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping(self) -> None:
        """The run is called off, and none begins any more."""
        logged = self.logged()
        self.push("a")
        self.clock.advance(QUIET)
        self.push("b")
        self.upkeep.stop()
        self.assertTrue(self.runs[0][1].called)
        self.push("c")
        self.assertEqual((self.clock.getDelayedCalls(), logged), ([], []))
