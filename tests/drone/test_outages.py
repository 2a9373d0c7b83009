"""What is away around an app is no failure of the app."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.instance import Instance
from deployd.errors import Busy, DeploydError, NoAnswer, Refused, Unreachable
from deployd.planning.view import HOPELESS_FAILURES
from tests.drone.house import House, line, state_of
from tests.drone.test_instances import InstancesTestCase

MINUTES = 300.0


class OutageTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.house = House(directory)
        self.addCleanup(lambda: self.house.close())

    def tried(self, problem: DeploydError) -> Instance:
        """An instance that has met nothing but ``problem`` for some minutes."""
        self.house.checkouts.problem = problem
        instance = self.house.instance()
        instance.start(instance.line)
        self.house.pass_time(MINUTES, 0.5)
        return instance

    def test_a_fetch_that_meets_one_is_tried_again_and_counts_not_against_the_release(self) -> None:
        for problem in (Unreachable("the hub is away"), NoAnswer("it says nothing"), Busy("the hub is busy")):
            instance = self.tried(problem)
            seen = instance.observed()
            self.assertEqual((seen.failures, seen.fatal, seen.reason), (0, False, str(problem)))
            self.assertGreater(len(self.house.checkouts.asked), HOPELESS_FAILURES)
            self.house.checkouts.problem = None
            self.house.pass_time(61)
            self.assertEqual((state_of(instance), instance.observed().reason), ("ready", ""))
            instance.stop(instance.line)
            self.house.checkouts.asked.clear()

    def test_neither_does_a_registry_that_does_not_answer(self) -> None:
        self.house.place = lambda: fail(NoAnswer("the registry does not answer"))
        instance = self.tried(None)  # type: ignore[arg-type]
        self.assertEqual((instance.observed().failures, instance.observed().reason[:12]), (0, "the registry"))

    def test_what_is_refused_counts(self) -> None:
        seen = self.tried(Refused("no")).observed()
        self.assertGreaterEqual(seen.failures, HOPELESS_FAILURES)

    def test_one_between_two_failures_of_the_app_forgives_none(self) -> None:
        instance = self.tried(Refused("no"))
        before = instance.observed().failures
        self.house.checkouts.problem = Unreachable("the hub is away")
        self.house.pass_time(MINUTES, 0.5)
        self.assertEqual((instance.observed().failures, instance.observed().reason), (before, "the hub is away"))


class TenMinutesTests(InstancesTestCase):
    """Hub and registry are down for ten minutes."""

    def setUp(self) -> None:
        super().setUp()
        self.join()
        self.assign(1, line(), line("worker", port=False))
        self.house.pass_time(2)
        self.ports = [seen.port for seen in self.instances.observed()]
        self.house.rows.disconnect()

    def come_back(self) -> None:
        """The registry has given the rows up meanwhile; the hub says what it said before."""
        self.house.rows.table = {}
        self.house.rows.connect()
        self.join()
        self.assign(1, line(), line("worker", port=False))

    def test_apps_serve_crash_and_are_started_again_and_all_is_right_on_return(self) -> None:
        for _ in range(20):
            self.house.pass_time(30, step=0.5)
            for process in self.house.keeper.running:
                process.exit(1)
        self.house.pass_time(61, step=0.5)
        self.assertEqual(self.states(), {"http-v1": "registering", "worker-v1": "ready"})
        self.assertEqual(len(self.house.keeper.running), 2)
        self.come_back()
        self.assertEqual((set(self.states().values()), set(self.house.rows.table)), ({"ready"}, {"http-v1"}))
        self.assertEqual([seen.port for seen in self.instances.observed()], self.ports)
        self.assertEqual(sum(seen.restarts for seen in self.instances.observed()), len(self.house.keeper.processes) - 2)
        self.assertEqual([seen.failures for seen in self.instances.observed()], [0, 0])

    def test_a_drone_that_is_killed_in_the_midst_goes_on_with_them(self) -> None:
        before = self.house.keeper.running
        self.house.pass_time(300, step=1)
        self.kill_the_drone()
        self.start_the_drone()
        self.house.rows.disconnect()
        self.house.pass_time(300, step=1)
        self.assertEqual(self.house.keeper.running, before)
        self.come_back()
        self.assertEqual((set(self.states().values()), set(self.house.rows.table)), ({"ready"}, {"http-v1"}))
