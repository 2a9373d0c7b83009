"""An app that was ready, and is not well any more."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.checking import TICK
from deployd.drone.isolation import Isolation
from deployd.model.role import Check, Limits, RoleSettings, StopRule
from deployd.processes.exits import Exit
from tests.drone.house import KILL, House, line, state_of

EVERY, TIMES = Check().interval, Check().failures
LONG = (EVERY + TICK) * TIMES + 0.2


class Killing(Isolation):
    """The kernel has ended what ended."""

    def cause(self, id: str, limits: Limits, how: Exit) -> str:
        return f"used more than its 64M of memory: {how.text}"


class LivenessTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.house = House(directory)
        self.addCleanup(self.house.close)
        settings = RoleSettings(check=Check(), stop=StopRule("QUIT", 3.0))
        self.instance = self.house.ready(evolve(line(), settings=settings))

    def be_ill(self, seconds: float) -> None:
        """For so long, or until that is noticed."""
        before, end = state_of(self.instance), self.house.reactor.seconds() + seconds
        self.house.checks.ill = "status 500"
        while state_of(self.instance) == before and self.house.reactor.seconds() < end:
            self.house.pass_time(0.05)

    def test_a_few_checks_that_fail_mean_nothing(self) -> None:
        self.be_ill(EVERY * (TIMES - 1) + 0.2)
        self.house.checks.ill = ""
        self.house.pass_time(60)
        self.assertEqual((state_of(self.instance), self.house.process.signals), ("ready", []))

    def test_one_that_is_not_well_leaves_the_table_at_once_and_is_ended_by_its_rule(self) -> None:
        self.house.process.ignored.add(3)
        self.house.happened.clear()
        self.be_ill(LONG)
        seen = self.instance.observed()
        self.assertEqual((seen.state.value, seen.reason), ("backoff", "3 checks in a row failed: status 500"))
        self.assertEqual((self.house.rows.table, self.house.process.signals), ({}, [3]))
        self.assertEqual(self.house.happened, ["free http-v1", "QUIT http-v1"])
        self.house.pass_time(3)
        self.assertEqual(self.house.process.signals, [3, KILL])

    def test_its_log_says_afterwards_why_it_was_ended(self) -> None:
        self.be_ill(LONG)
        self.house.checks.ill = ""
        self.house.pass_time(0.7)
        self.assertEqual(self.instance.observed().reason, "")
        log = self.house.keeper.processes[0].launch.log
        self.assertEqual(self.house.keeper.remarks, [(log, "3 checks in a row failed: status 500")])

    def test_so_it_does_of_one_that_drains(self) -> None:
        self.instance.drain(self.instance.line)
        self.instance.broken("used 70M of memory, more than its 64M")
        self.house.pass_time(4)
        log = self.house.process.launch.log
        self.assertEqual(self.house.keeper.remarks, [(log, "used 70M of memory, more than its 64M")])

    def test_so_it_does_of_one_whose_end_nobody_has_seen(self) -> None:
        self.house.keeper.die()
        (remark,) = self.house.keeper.remarks
        self.assertEqual(remark, (self.house.process.launch.log, Exit(None, None).text))

    def test_so_it_does_of_one_that_the_kernel_has_ended_for_its_memory(self) -> None:
        self.house.means = evolve(self.house.means, isolation=Killing())
        settings = RoleSettings(limits=Limits(memory=64 << 20))
        self.house.ready(evolve(line("eater", port=False), settings=settings))
        self.house.process.exit(signal=KILL)
        said = "used more than its 64M of memory: was ended by SIGKILL"
        self.assertEqual(self.house.keeper.remarks, [(self.house.process.launch.log, said)])

    def test_it_says_nothing_of_an_end_by_itself(self) -> None:
        self.house.process.exit(3)
        self.assertEqual(self.house.keeper.remarks, [])

    def test_it_says_nothing_of_what_somebody_has_asked_for(self) -> None:
        self.instance.restart(self.instance.line)
        self.house.pass_time(4)
        self.instance.stop(self.instance.line)
        self.house.pass_time(4)
        self.assertEqual((len(self.house.keeper.processes), self.house.keeper.remarks), (2, []))

    def test_it_is_started_again_after_a_wait_and_ready_once_it_is_well(self) -> None:
        self.be_ill(LONG)
        self.house.checks.ill = ""
        self.house.pass_time(0.7)
        seen = self.instance.observed()
        self.assertEqual((seen.state.value, seen.restarts, seen.failures), ("ready", 1, 0))
        self.assertEqual(set(self.house.rows.table), {"http-v1"})

    def test_one_that_is_never_well_again_waits_ever_longer(self) -> None:
        for times in range(1, 4):
            self.be_ill(LONG)
            self.house.checks.ill = ""
            self.house.pass_time(2.0**times)
            self.assertEqual((state_of(self.instance), len(self.house.keeper.processes)), ("ready", times + 1))

    def test_nobody_asks_one_that_drains_or_has_stopped(self) -> None:
        self.instance.drain(self.instance.line)
        self.house.checks.asked.clear()
        self.house.pass_time(60)
        self.instance.stop(self.instance.line)
        self.house.pass_time(60)
        self.assertEqual((self.house.checks.asked, state_of(self.instance)), ([], "stopped"))

    def test_one_whose_row_the_registry_has_not_taken_yet_is_watched_too(self) -> None:
        self.house.rows.hold()
        self.instance.restart(evolve(self.instance.line, generation=1))
        self.house.pass_time(6)
        self.assertEqual(state_of(self.instance), "registering")
        self.be_ill(LONG)
        self.assertEqual(state_of(self.instance), "backoff")


class StartingTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.house = House(directory)
        self.addCleanup(self.house.close)

    def test_what_keeps_it_from_being_ready_is_told_with_its_last_output(self) -> None:
        """So a deploy that ends in time shows it."""
        self.house.checks.ill = "status 503"
        instance = self.house.ready()
        self.house.process.write(b"waiting for the database\n")
        self.house.pass_time(3)
        seen = instance.observed()
        self.assertEqual((seen.state.value, seen.tail), ("starting", "waiting for the database"))
        self.assertIn("503", seen.reason)
        self.house.checks.ill = ""
        self.house.pass_time(1)
        self.assertEqual((state_of(instance), instance.observed().reason, instance.observed().tail), ("ready", "", ""))

    def test_it_has_a_temporary_directory_of_its_own_as_long_as_it_runs(self) -> None:
        instance = self.house.ready()
        directory = Path(self.house.process.env["TMPDIR"])
        (directory / "left").write_text("x")
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        self.house.process.exit(1)
        self.house.pass_time(1)
        self.assertEqual((Path(self.house.process.env["TMPDIR"]), list(directory.iterdir())), (directory, []))
        instance.stop(instance.line)
        self.assertFalse(directory.exists())

    def test_its_config_is_in_its_environment_below_what_deployd_says_and_above_the_defaults_of_its_role(self) -> None:
        self.house.configs.variables = {"LEVEL": "2", "PORT": "1", "COMMIT": "none"}
        settings = RoleSettings(env={"LEVEL": "1", "COLOUR": "red"})
        self.house.ready(evolve(line(), settings=settings))
        env = self.house.process.env
        self.assertEqual((env["LEVEL"], env["COLOUR"]), ("2", "red"))
        self.assertEqual(env["COMMIT"], line().commit)
        self.assertNotEqual(env["PORT"], "1")
        self.assertNotIn("LEVEL", repr(self.house.process.launch))
