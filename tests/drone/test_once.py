"""What runs once: a release command, in all the moments in which its drone may be killed."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred, fail

from deployd.drone.problem import LOST, Hopeless
from deployd.errors import Refused, Unreachable
from deployd.model.instance import Goal
from deployd.model.role import RoleSettings
from tests.drone.house import TERM, line
from tests.drone.test_instances import InstancesTestCase

MIGRATE = evolve(line("release", port=False), once=True, settings=RoleSettings(within=600))


class OnceTestCase(InstancesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def told(self) -> tuple[str, str]:
        seen = self.instances.observed()[0]
        return seen.state.value, seen.reason

    @property
    def started(self) -> int:
        return len(self.house.keeper.processes)


class OnceTests(OnceTestCase):
    def test_is_done_when_it_exits_with_0_and_never_started_again(self) -> None:
        self.assign(1, MIGRATE)
        self.house.pass_time(20)
        self.assertEqual(self.told(), ("starting", ""))
        self.house.process.exit(0)
        self.assertEqual(self.told(), ("done", ""))
        self.house.pass_time(120, step=1)
        self.assertEqual((self.told(), self.started), (("done", ""), 1))
        self.assertEqual((self.house.rows.table, self.house.checks.asked), ({}, []))

    def test_is_swept_before_it_is_done(self) -> None:
        self.assign(1, MIGRATE)
        self.house.end_problem = Refused("a child does not die")
        self.house.process.exit(0)
        self.assertNotEqual(self.told()[0], "done")
        self.house.end_problem = None
        self.house.pass_time(6)
        self.assertEqual(self.told()[0], "done")

    def test_fails_at_once_with_its_code_and_its_last_output(self) -> None:
        self.assign(1, MIGRATE)
        self.house.process.write(b"no such table\n")
        self.house.process.exit(3)
        self.assertEqual(self.told(), ("failed", "exited with code 3"))
        self.assertEqual(self.instances.observed()[0].tail, "no such table")
        self.house.pass_time(120, step=1)
        self.assertEqual(self.started, 1)

    def test_fails_when_it_has_not_ended_in_time(self) -> None:
        self.assign(1, MIGRATE)
        self.house.pass_time(599, step=1)
        self.assertEqual(self.told()[0], "starting")
        self.house.pass_time(2, step=1)
        self.assertEqual(self.told(), ("failed", "did not end within 600 s"))
        self.assertEqual(self.house.process.signals, [TERM])

    def test_runs_again_in_a_newer_generation(self) -> None:
        self.assign(1, MIGRATE)
        self.house.process.exit(3)
        self.assign(2, evolve(MIGRATE, generation=1))
        self.assertEqual((self.told()[0], self.started), ("starting", 2))
        self.house.process.exit(0)
        self.assertEqual((self.told()[0], self.instances.observed()[0].generation), ("done", 1))

    def test_waits_for_the_hub_as_long_as_it_has_not_begun(self) -> None:
        self.house.checkouts.problem = Unreachable("the hub is away")
        self.assign(1, MIGRATE)
        self.house.pass_time(600, step=1)
        self.assertEqual(self.told(), ("backoff", "the hub is away"))
        self.house.checkouts.problem = None
        self.house.pass_time(61, step=1)
        self.assertEqual((self.told()[0], self.started), ("starting", 1))

    def test_fails_at_once_when_it_cannot_be_started(self) -> None:
        self.house.checkouts.problem = Hopeless("it cannot be checked out")
        self.assign(1, MIGRATE)
        self.assertEqual(self.told(), ("failed", "it cannot be checked out"))

    def test_is_not_started_when_it_cannot_be_saved_that_it_was_begun(self) -> None:
        self.house.means = evolve(self.house.means, save=lambda *life: fail(Refused("the disk is full")))
        self.instances._means = self.house.means
        self.assign(1, MIGRATE)
        self.assertEqual((self.told(), self.started), (("failed", "the disk is full"), 0))

    def test_is_not_started_a_second_time_after_a_stop(self) -> None:
        self.assign(1, MIGRATE)
        self.assign(2, evolve(MIGRATE, goal=Goal.STOP))
        self.assertEqual((self.told()[0], self.house.process.signals), ("stopped", [TERM]))
        self.assign(3, MIGRATE)
        self.assertEqual((self.told(), self.started), (("failed", LOST.reason), 1))

    def test_what_was_done_is_done_after_a_stop_too(self) -> None:
        self.assign(1, MIGRATE)
        self.house.process.exit(0)
        self.assign(2, evolve(MIGRATE, goal=Goal.STOP))
        self.assign(3, MIGRATE)
        self.assertEqual((self.told(), self.started), (("done", ""), 1))

    def test_is_lost_when_its_keeper_dies(self) -> None:
        self.assign(1, MIGRATE)
        self.house.keeper.die()
        self.assertEqual((self.told(), self.house.process.signals), (("failed", LOST.reason), [TERM]))


class KilledDroneTests(OnceTestCase):
    def test_before_it_was_begun_it_is_begun_then(self) -> None:
        self.house.checkouts.held = Deferred()
        self.assign(1, MIGRATE)
        self.kill_and_restart_the_drone()
        self.assertEqual((self.told()[0], self.started), ("starting", 1))

    def test_after_it_was_saved_as_begun_and_before_its_start_it_is_lost(self) -> None:
        self.house.keeper.held_back = []
        self.assign(1, MIGRATE)
        self.kill_and_restart_the_drone()
        self.house.pass_time(120, step=1)
        self.assertEqual((self.told(), self.started), (("failed", LOST.reason), 0))

    def test_after_its_start_and_before_that_was_saved_it_goes_on(self) -> None:
        self.house.keeper.held_back = []
        self.assign(1, MIGRATE)
        life = self.journal.read().entries[0].life
        self.house.keeper.release()
        self.journal.save({MIGRATE.id: life})
        self.kill_and_restart_the_drone()
        self.assertEqual(self.told(), ("starting", ""))
        self.house.process.exit(0)
        self.assertEqual((self.told(), self.started), (("done", ""), 1))

    def test_while_it_runs_it_goes_on_within_the_same_time(self) -> None:
        self.assign(1, MIGRATE)
        self.house.pass_time(500, step=1)
        self.kill_and_restart_the_drone()
        self.house.pass_time(99, step=1)
        self.assertEqual(self.told()[0], "starting")
        self.house.pass_time(2, step=1)
        self.assertEqual(self.told(), ("failed", "did not end within 600 s"))

    def test_after_it_ended_its_code_counts(self) -> None:
        for code, told in ((0, ("done", "")), (3, ("failed", "exited with code 3"))):
            assigned = evolve(MIGRATE, generation=code)
            self.assign(code + 1, assigned)
            self.kill_the_drone()
            self.house.process.exit(code)
            self.start_the_drone()
            self.assertEqual((self.told(), self.house.keeper.running), (told, []))

    def test_after_it_was_over_it_stays_so(self) -> None:
        for code, state in ((0, "done"), (3, "failed")):
            self.assign(code + 1, evolve(MIGRATE, generation=code))
            self.house.process.exit(code)
            before = self.instances.observed()
            for again in (self.kill_and_restart_the_drone, self.reboot):
                again()
                self.assertEqual(self.instances.observed(), before)
            self.assertEqual(before[0].state.value, state)
        self.assertEqual(self.started, 2)

    def test_with_its_keeper_it_is_lost(self) -> None:
        self.assign(1, MIGRATE)
        self.reboot()
        self.house.pass_time(120, step=1)
        self.assertEqual((self.told(), self.started), (("failed", LOST.reason), 1))

    def test_the_end_of_an_older_generation_is_not_taken_for_this_ones(self) -> None:
        self.assign(1, MIGRATE)
        self.kill_the_drone()
        self.house.process.exit(0)
        self.journal = self.again()
        life = self.journal.read().entries[0].life
        self.journal.take(self.instances.revision, [evolve(MIGRATE, generation=1)])
        self.journal.save({MIGRATE.id: evolve(life, begun=1)})
        self.journal.close()
        self.start_the_drone()
        self.assertEqual((self.told(), self.started), (("failed", LOST.reason), 1))
