"""Commands that run to their end, and of which nothing is left."""

from __future__ import annotations

import signal

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.problem import Outage
from deployd.drone.tasks import GONE, run_task
from deployd.errors import NoAnswer, Refused
from deployd.processes.exits import Exit
from deployd.processes.trees import ProcessRef
from deployd.testing.keeper import FakeKeeper, reference
from deployd.wire.keeping import Launch

TASK = Launch("build-1", ("make",), {}, "/srv", "app/v1-abc/build-1")


class TaskCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.keeper = FakeKeeper(self.clock)
        self.swept: list[tuple[str, ProcessRef | int | None]] = []
        self.unkillable = False

    def end(self, id: str, session: ProcessRef | int | None, grace: float, signum: int) -> Deferred[None]:
        """Ends after a tenth of a second."""
        ended: Deferred[None] = Deferred()

        def sweep() -> None:
            self.swept.append((id, session))
            for process in self.keeper.running:
                if process.launch.id == id and not self.unkillable:
                    process.signal(signum)
            ended.callback(None)

        self.clock.callLater(0.1, sweep)
        return ended

    def run_task(self, within: float = 60) -> Deferred[Exit]:
        return Deferred.fromCoroutine(run_task(self.keeper, self.clock, self.end, TASK, within))

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.keeper.running, [])
        self.assertEqual(list(self.keeper.held()), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RunTests(TaskCase):
    def test_its_end_is_the_answer_once_nothing_is_left(self) -> None:
        running = self.run_task()
        (process,) = self.keeper.running
        process.exit(3)
        self.assertNoResult(running)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(running), Exit(3))
        self.assertEqual(self.swept, [("build-1", reference(process))])
        self.assert_nothing_left()

    def test_one_that_takes_too_long_is_ended(self) -> None:
        running = self.run_task(within=5)
        (process,) = self.keeper.running
        self.clock.advance(5)
        self.clock.advance(0.1)
        self.assertEqual(str(self.failureResultOf(running, NoAnswer).value), "it has not ended after 5 s")
        self.assertEqual(process.signals, [signal.SIGKILL])
        self.assertEqual(self.keeper.remarks, [(TASK.log, "did not end within 5 s")])
        self.assert_nothing_left()

    def test_one_that_is_cancelled_is_ended(self) -> None:
        running = self.run_task()
        running.cancel()
        self.clock.advance(0.1)
        self.failureResultOf(running, CancelledError)
        self.assertEqual(len(self.keeper.processes), 1)
        self.assert_nothing_left()

    def test_one_that_is_cancelled_while_it_starts_is_ended_once_it_has(self) -> None:
        self.keeper.held_back = []
        running = self.run_task()
        running.cancel()
        self.clock.advance(1)
        self.assertNoResult(running)
        self.keeper.release()
        self.clock.advance(0.1)
        self.failureResultOf(running, CancelledError)
        self.assertEqual(len(self.keeper.processes), 1)
        self.assert_nothing_left()

    def test_one_that_cannot_be_started_says_why(self) -> None:
        for error in (Refused("no such file"), Outage("no keeper")):
            self.keeper.refuse = error
            running = self.run_task()
            self.clock.advance(0.1)
            self.assertIs(self.failureResultOf(running, type(error)).value, error)
            self.assert_nothing_left()

    def test_one_whose_keeper_dies_is_swept_and_lost(self) -> None:
        running = self.run_task()
        self.keeper.die()
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(running), Exit(None, None))
        self.assert_nothing_left()


class EarlierTests(TaskCase):
    """What a drone that was killed has left under the same id."""

    def setUp(self) -> None:
        super().setUp()
        self.keeper.start(TASK, lambda how: None)
        (self.earlier,) = self.keeper.running
        self.keeper.next_life()

    def test_it_is_ended_before_the_next_one_starts(self) -> None:
        running = self.run_task()
        self.assertEqual(len(self.keeper.processes), 1)
        self.clock.advance(0.1)
        self.assertEqual(self.earlier.signals, [signal.SIGKILL])
        (process,) = self.keeper.running
        process.exit()
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(running), Exit(0))

    def test_what_it_left_is_swept_though_it_has_ended(self) -> None:
        self.earlier.exit()
        running = self.run_task()
        self.clock.advance(0.1)
        self.assertEqual(self.swept, [("build-1", reference(self.earlier))])
        (process,) = self.keeper.running
        process.exit()
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(running), Exit(0))

    def test_one_that_does_not_end_is_not_joined_by_another(self) -> None:
        self.unkillable = True
        running = self.run_task()
        self.clock.advance(0.1)
        self.clock.advance(GONE)
        self.failureResultOf(running, NoAnswer)
        self.assertEqual(len(self.keeper.processes), 1)
