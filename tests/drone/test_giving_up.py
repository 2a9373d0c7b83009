"""An app that falls and falls: when nobody starts it any more, and who may say that it should be tried again."""

from __future__ import annotations

from attrs import evolve

from deployd.drone.problem import BuildFailed, Hopeless
from deployd.errors import Unreachable
from deployd.model.instance import AssignedInstance, Goal
from deployd.model.role import RoleSettings
from tests.drone.house import line
from tests.drone.test_instances import InstancesTestCase

FRAGILE = evolve(line(), settings=RoleSettings(give_up=3))
REASON = "given up after 3 starts in a row that failed: exited with code 1 after 4 s"


class GivingUpTests(InstancesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.house.opens_at_once = False
        self.join()

    def given_up(self, assigned: AssignedInstance = FRAGILE) -> None:
        self.assign(1, assigned)
        self.fall(3)

    def fall(self, times: int) -> None:
        for _ in range(times):
            self.house.process.write(b"oh\n")
            self.house.process.exit(1)
            self.house.pass_time(5)

    def test_says_why_and_shows_the_last_output(self) -> None:
        self.given_up()
        seen = self.instances.observed()[0]
        self.assertEqual((seen.state.value, seen.reason, seen.tail, seen.restarts), ("failed", REASON, "oh", 2))
        self.house.pass_time(300, step=5)
        self.assertEqual((self.states(), len(self.house.keeper.processes)), ({"http-v1": "failed"}, 3))

    def test_its_log_says_so_once(self) -> None:
        self.given_up()
        self.house.pass_time(300, step=5)
        self.kill_and_restart_the_drone()
        self.assertEqual(self.house.keeper.remarks, [(self.house.process.launch.log, REASON)])

    def test_stays_so_over_restarts_of_the_drone_and_of_the_machine(self) -> None:
        self.given_up()
        seen = self.instances.observed()
        for again in (self.kill_and_restart_the_drone, self.reboot):
            again()
            self.house.pass_time(100, step=1)
            told = self.instances.observed()[0]
            self.assertEqual((told.state.value, told.reason, told.tail), ("failed", REASON, "oh"))
            self.assertEqual((told.generation, told.restarts), (seen[0].generation, seen[0].restarts))
        self.assertEqual(len(self.house.keeper.processes), 3)

    def test_the_count_goes_on_over_restarts_of_the_drone(self) -> None:
        self.assign(1, FRAGILE)
        self.fall(2)
        self.kill_and_restart_the_drone()
        self.house.opens_at_once = False
        self.house.pass_time(3)
        self.fall(1)
        self.assertEqual(self.states(), {"http-v1": "failed"})

    def test_a_restart_tries_it_again_from_nothing(self) -> None:
        self.given_up()
        self.assign(2, evolve(FRAGILE, generation=1))
        self.assertEqual((self.states(), len(self.house.keeper.running)), ({"http-v1": "starting"}, 1))
        self.fall(2)
        self.assertEqual(self.states(), {"http-v1": "starting"})
        self.fall(1)
        self.assertEqual((self.states(), self.instances.observed()[0].generation), ({"http-v1": "failed"}, 1))

    def test_a_stop_and_then_a_start_try_it_again_too(self) -> None:
        self.given_up()
        self.assign(2, evolve(FRAGILE, goal=Goal.STOP))
        self.assertEqual(self.states(), {"http-v1": "stopped"})
        self.assign(3, FRAGILE)
        self.assertEqual(self.states(), {"http-v1": "starting"})

    def test_one_that_nobody_wants_any_more_is_forgotten(self) -> None:
        self.given_up()
        self.assign(2)
        self.assertEqual(self.states(), {})

    def test_a_steady_minute_forgives_all(self) -> None:
        self.assign(1, FRAGILE)
        self.fall(2)
        self.house.listening.add(self.instances.observed()[0].port)
        self.house.pass_time(61)
        self.assertEqual(self.states(), {"http-v1": "ready"})
        self.fall(1)
        self.assertNotEqual(self.states(), {"http-v1": "failed"})

    def test_an_outage_is_not_the_apps_fault(self) -> None:
        self.house.checkouts.problem = Unreachable("the hub is away")
        self.assign(1, FRAGILE)
        self.house.pass_time(600, step=1)
        self.assertEqual(self.states(), {"http-v1": "backoff"})
        self.house.checkouts.problem = None
        self.house.pass_time(61, step=1)
        self.assertEqual(self.states(), {"http-v1": "starting"})

    def test_what_cannot_work_is_given_up_as_well(self) -> None:
        self.house.checkouts.problem = Hopeless("there is no such commit")
        self.assign(1, FRAGILE)
        self.house.pass_time(125, step=1)
        seen = self.instances.observed()[0]
        self.assertEqual(seen.state.value, "failed")
        self.assertEqual(seen.reason, "given up after 3 starts in a row that failed: there is no such commit")

    def test_nobody_gives_up_where_that_is_not_wanted(self) -> None:
        self.assign(1, evolve(line(), settings=RoleSettings(give_up=0)))
        for _ in range(30):
            self.house.process.exit(1)
            self.house.pass_time(61, step=0.5)
        self.assertEqual(self.states(), {"http-v1": "starting"})


class BuildTests(InstancesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_a_build_that_runs_is_told_with_its_words(self) -> None:
        from twisted.internet.defer import Deferred

        self.house.builds.held = Deferred()
        self.assign(1, line())
        self.assertEqual(self.states(), {"http-v1": "waiting"})
        self.house.builds.say("npm ci: 3 s")
        seen = self.instances.observed()[0]
        self.assertEqual((seen.state.value, seen.reason, self.house.keeper.processes), ("building", "npm ci: 3 s", []))
        self.house.builds.held.callback(None)
        seen = self.instances.observed()[0]
        self.assertEqual((seen.state.value, seen.reason), ("ready", ""))

    def test_a_build_that_fails_is_told_with_its_last_output(self) -> None:
        self.house.builds.problem = BuildFailed("npm ci exited with code 1", "no such package")
        self.assign(1, line())
        seen = self.instances.observed()[0]
        self.assertEqual((seen.fatal, seen.reason, seen.tail), (True, "npm ci exited with code 1", "no such package"))
