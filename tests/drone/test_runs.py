"""Commands that a drone runs for people."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.problem import Outage
from deployd.drone.run import CHUNK, GRACE, IDLE, LAST_OUTPUT, LONGEST_WAIT, MAX_EARLY, Told
from deployd.drone.runs import CLOSING, MAX_RUNS, Runs
from deployd.errors import Busy, Refused, UnknownInstance, Unreachable
from deployd.model.instance import AssignedInstance
from tests.drone.house import COMMIT, House


def command(name: str = "exec-1", *argv: str) -> AssignedInstance:
    return AssignedInstance(name, "webapp", "v1", COMMIT, "exec", argv or ("/bin/sh", "-c", "x"), False, once=True)


class FakePipes:
    """A process prints with ``say`` and ``hang_up``; what was written is in ``input``."""

    theirs = (90, 91, 92)

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.stdout = self.stderr = self.input = b""
        self.input_ended = self.ended = self.closed = False
        self.theirs_closed = 0
        self.room = True

    def say(self, stdout: bytes = b"", stderr: bytes = b"") -> None:
        self.stdout += stdout
        self.stderr += stderr
        self.changed()

    def hang_up(self) -> None:
        self.ended = True
        self.changed()

    @property
    def empty(self) -> bool:
        return not self.stdout and not self.stderr

    @property
    def over(self) -> bool:
        return self.empty and (self.ended or self.closed)

    def close_theirs(self) -> None:
        self.theirs_closed += 1

    def take(self, most: int) -> tuple[bytes, bytes]:
        taken = self.stdout[:most], self.stderr[:most]
        self.stdout, self.stderr = self.stdout[most:], self.stderr[most:]
        return taken

    def write(self, data: bytes) -> None:
        self.input += data

    def end_input(self) -> None:
        self.input_ended = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.changed()


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.house = House(directory)
        self.addCleanup(self.house.close)
        self.clock = self.house.reactor
        self.opened: list[FakePipes] = []
        self.runs = Runs(self.house.means, self.open)

    def open(self, changed: Callable[[], None]) -> FakePipes:
        self.opened.append(FakePipes(changed))
        return self.opened[-1]

    @property
    def pipes(self) -> FakePipes:
        return self.opened[-1]

    def begin(self, name: str = "exec-1", **env: str) -> None:
        self.runs.begin(command(name), env)

    def told(self, name: str = "exec-1") -> Told:
        return self.now(self.runs.read(name, 0))  # type: ignore[no-any-return]

    def now(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def assert_gone(self) -> None:
        self.failureResultOf(Deferred.fromCoroutine(self.runs.read("exec-1", 0)), UnknownInstance)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_starts_in_the_checkout_with_the_environment_of_the_release_and_its_own(self) -> None:
        self.house.configs.variables = {"MODE": "live", "TOKEN": "old"}
        self.begin(TOKEN="abc")
        launch = self.house.process.launch
        self.assertEqual((launch.argv, launch.cwd, launch.log), (("/bin/sh", "-c", "x"), str(self.house.directory), ""))
        words = [launch.env[name] for name in ("MODE", "TOKEN", "PROCESS_ID", "RELEASE", "ROLE")]
        self.assertEqual(words, ["live", "abc", "exec-1", "v1", "exec"])
        self.assertNotIn("PORT", launch.env)
        self.assertEqual(self.pipes.theirs_closed, 1)

    def test_tells_what_it_prints_and_then_its_code(self) -> None:
        self.begin()
        self.assertEqual(self.told(), Told())
        self.pipes.say(b"out", b"err")
        self.assertEqual(self.told(), Told(b"out", b"err"))
        self.pipes.say(b"last")
        self.house.process.exit(7)
        self.assertEqual(self.told(), Told(b"last"))
        self.pipes.hang_up()
        self.assertEqual(self.told(), Told(b"", b"", True, 7))
        self.assert_gone()
        self.assertEqual(list(self.house.keeper.held()), [])

    def test_one_that_was_killed_has_a_code_as_in_a_shell(self) -> None:
        self.begin()
        self.house.process.exit(signal=9)
        self.pipes.hang_up()
        self.assertEqual(self.told().code, 137)

    def test_much_is_told_in_parts(self) -> None:
        self.begin()
        self.pipes.say(b"x" * (CHUNK + 1))
        self.assertEqual([len(self.told().stdout) for _ in range(3)], [CHUNK, 1, 0])

    def test_who_reads_waits_for_something_to_be_told(self) -> None:
        self.begin()
        reading = Deferred.fromCoroutine(self.runs.read("exec-1", 10.0))
        self.clock.advance(5)
        self.assertNoResult(reading)
        self.pipes.say(b"out")
        self.assertEqual(self.successResultOf(reading), Told(b"out"))
        reading = Deferred.fromCoroutine(self.runs.read("exec-1", 10.0))
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(reading), Told())

    def test_what_it_leaves_behind_is_swept(self) -> None:
        self.begin()
        self.house.process.exit(0)
        ((id, session, grace),) = self.house.ended
        self.assertEqual((id, session is None, grace), ("exec-1", False, GRACE))
        self.assertFalse((self.house.directory / "tmp" / "exec-1").exists())

    def test_output_that_a_stranger_holds_open_ends_all_the_same(self) -> None:
        self.begin()
        self.pipes.say(b"last")
        self.house.process.exit(0)
        self.clock.advance(LAST_OUTPUT)
        self.assertFalse(self.pipes.closed, "not all was taken")
        self.told()
        self.clock.advance(LAST_OUTPUT)
        self.assertTrue(self.told().ended)

    def test_input_goes_through_when_there_is_room(self) -> None:
        self.begin()
        self.assertTrue(self.now(self.runs.write("exec-1", b"one", False)))
        self.pipes.room = False
        writing = Deferred.fromCoroutine(self.runs.write("exec-1", b"two", True))
        self.clock.advance(LONGEST_WAIT - 1)
        self.assertNoResult(writing)
        self.pipes.room = True
        self.pipes.changed()
        self.assertTrue(self.successResultOf(writing))
        self.assertEqual((self.pipes.input, self.pipes.input_ended), (b"onetwo", True))

    def test_who_writes_is_answered_though_there_be_no_room(self) -> None:
        self.begin()
        self.pipes.room = False
        writing = Deferred.fromCoroutine(self.runs.write("exec-1", b"two", False))
        self.clock.advance(LONGEST_WAIT)
        self.assertFalse(self.successResultOf(writing))

    def test_input_may_come_before_it_has_started(self) -> None:
        self.house.checkouts.held = Deferred()
        self.begin()
        writing = Deferred.fromCoroutine(self.runs.write("exec-1", b"one", True))
        self.assertNoResult(writing)
        self.failureResultOf(Deferred.fromCoroutine(self.runs.write("exec-1", b"x" * MAX_EARLY, False)), Refused)
        self.house.checkouts.held.callback(self.house.directory)
        self.assertTrue(self.successResultOf(writing))
        self.assertEqual((self.pipes.input, self.pipes.input_ended), (b"one", True))

    def test_one_that_cannot_be_started_says_why(self) -> None:
        self.house.checkouts.problem = Unreachable("the hub is away")
        self.begin()
        self.assertEqual(self.told().failed, "the hub is away")
        self.house.checkouts.problem = None
        self.house.keeper.refuse = Refused("no more processes")
        self.begin()
        self.assertEqual(self.told().failed, "no more processes")
        self.assertEqual(self.pipes.theirs_closed, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_whose_start_was_not_answered_is_ended(self) -> None:
        self.house.keeper.refuse = Outage("the drone's keeper: the connection was lost")
        self.begin()
        self.assertEqual(self.house.ended, [("exec-1", None, 0.0)])
        self.assertIn("keeper", self.told().failed)
        self.assertEqual(self.pipes.theirs_closed, 1)

    def test_a_command_that_is_not_there_says_so(self) -> None:
        self.runs.begin(command("exec-1", "nosuch"), {})
        self.assertIn("nosuch: command not found", self.told().failed)

    def test_the_death_of_its_parent_is_told(self) -> None:
        self.begin()
        self.house.keeper.die()
        self.pipes.hang_up()
        self.assertIn("keeper", self.told().failed)

    def test_one_that_is_not_wanted_any_more_is_ended_with_all_of_it(self) -> None:
        self.begin()
        self.runs.end("exec-1")
        self.assertEqual(self.house.ended[0][::2], ("exec-1", GRACE))
        self.assertTrue(self.house.process.ended)
        self.assert_gone()
        self.assertTrue(self.pipes.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.runs.end("exec-1")

    def test_one_that_is_given_up_before_it_starts_never_starts(self) -> None:
        self.house.checkouts.held = Deferred()
        self.begin()
        self.runs.end("exec-1")
        self.house.checkouts.held.callback(self.house.directory)
        self.assertEqual(self.house.keeper.processes, [])
        self.assert_gone()

    def test_one_that_is_given_up_while_it_starts_is_ended(self) -> None:
        self.house.keeper.held_back = []
        self.begin()
        self.runs.end("exec-1")
        self.house.keeper.release()
        self.assertTrue(self.house.process.ended)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_nobody_watches_is_ended(self) -> None:
        self.begin()
        for _ in range(3):
            self.clock.advance(IDLE - 1)
            self.told()
        self.clock.advance(IDLE - 1)
        self.now(self.runs.write("exec-1", b"", False))
        self.clock.advance(IDLE - 1)
        self.assertFalse(self.house.process.ended)
        self.clock.advance(1)
        self.assertTrue(self.house.process.ended)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_how_it_ended_is_not_kept_for_ever(self) -> None:
        self.begin()
        self.house.process.exit(0)
        self.pipes.say(b"last")
        self.clock.pump([LAST_OUTPUT] * 10)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assert_gone()

    def test_there_are_only_so_many(self) -> None:
        for number in range(MAX_RUNS):
            self.begin(f"exec-{number}")
        self.assertRaises(Busy, self.begin, "exec-x")
        self.assertRaises(Busy, self.begin, "exec-y")
        self.runs.end("exec-0")
        self.begin("exec-x")
        self.runs.end("exec-1")
        self.assertRaises(Refused, self.begin, "exec-x")

    def test_none_outlives_the_drone(self) -> None:
        self.begin("exec-1")
        self.begin("exec-2")
        self.successResultOf(self.runs.close())
        self.assertEqual(self.house.keeper.running, [])
        self.assertRaises(Refused, self.begin, "exec-3")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_drone_does_not_wait_for_ever(self) -> None:
        self.house.keeper.held_back = []
        self.begin()
        closing = self.runs.close()
        self.clock.advance(CLOSING)
        self.successResultOf(closing)

    def test_its_environment_is_in_no_repr(self) -> None:
        self.begin(TOKEN="abc")
        run = self.runs._runs["exec-1"]
        self.assertNotIn("abc", repr(run) + repr(self.house.process.launch) + repr(evolve(Told(), stdout=b"abc")))
