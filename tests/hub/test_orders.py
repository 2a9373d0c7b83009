"""retire, stop and restart: the words of the reference, one by one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import UnknownApp, UnknownCommit, UnknownInstance, UsageError
from deployd.model.instance import Goal, State
from deployd.wire.control import Events, Restart, Retire, Stop
from tests.hub.rig import Cluster

STUCK = {"state": State.STARTING}


class RetireTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push()
        self.drone = self.cluster.drone()
        self.cluster.deploy()

    def retire(self, commit: str = "master") -> dict[str, str]:
        answer: dict[str, str] = self.cluster.person.ask(Retire, app="webapp", commit=commit)
        return answer

    def test_takes_it_down_everywhere_in_order(self) -> None:
        self.assertEqual(self.retire(), {"commit": self.commit, "release": "v1"})
        self.assertEqual(self.cluster.releases(), {"v1": "retired"})
        goals = [line.goal for told in self.drone.told for line in told.values()]
        self.assertEqual(goals, [Goal.RUN, Goal.DRAIN, Goal.STOP])
        self.assertEqual(self.drone.lines, {})
        self.assertEqual(self.cluster.drone("late").lines, {})

    def test_stops_only_what_is_out_of_the_port_table(self) -> None:
        self.drone.follows = False
        self.retire()
        self.assertEqual(self.drone.lines, {"http.v1": Goal.DRAIN})
        self.drone.change("http", state=State.DRAINING)
        self.assertEqual(self.drone.lines, {"http.v1": Goal.DRAIN})
        self.drone.change("http", state=State.DRAINING, deregistered=self.drone.revision)
        self.assertEqual(self.drone.lines, {"http.v1": Goal.STOP})
        self.assertEqual(self.cluster.releases(), {"v1": "retiring"})
        self.assertEqual(self.cluster.rows("instances")[0]["state"], "draining")
        self.drone.change("http", state=State.STOPPED)
        self.assertEqual(self.cluster.releases(), {"v1": "retiring"})
        self.drone.follows = True
        self.drone.report()
        self.drone._follow()
        self.cluster.settle()
        self.assertEqual((self.cluster.releases(), self.drone.lines), ({"v1": "retired"}, {}))

    def test_does_not_wait_for_the_registry_for_ever(self) -> None:
        self.drone.follows = False
        self.retire()
        self.drone.change("http", state=State.DRAINING)
        self.cluster.pass_time(20)
        self.assertEqual(self.drone.lines, {"http.v1": Goal.STOP})

    def test_also_on_a_drone_that_returns_later(self) -> None:
        away = self.cluster.drone("d2")
        away.leave()
        self.retire()
        # A hub that has just been started waits for its drones first.
        self.assertEqual(self.cluster.releases(), {"v1": "retiring"})
        self.cluster.pass_time(11)
        self.assertEqual(self.cluster.releases(), {"v1": "retired"})
        self.assertEqual([(row["drone"], row["state"]) for row in self.cluster.rows("instances")], [("d2", "away")])
        self.cluster.restart()
        away.join()
        goals = [line.goal for told in away.told for line in told.values()]
        self.assertEqual(goals, [Goal.RUN, Goal.DRAIN, Goal.STOP])
        self.assertEqual((away.lines, self.cluster.rows("instances")), ({}, []))

    def test_again_is_the_same(self) -> None:
        self.retire()
        saves = self.cluster.store.saves
        self.assertEqual(self.retire("v1"), {"commit": self.commit, "release": "v1"})
        self.assertEqual(self.cluster.store.saves, saves)

    def test_a_commit_that_was_never_deployed_or_is_not_there_is_unknown(self) -> None:
        second = self.cluster.push()
        for commit in (second, "0" * 40, "v2", self.cluster.push("other")):
            with self.assertRaises(UnknownCommit):
                self.retire(commit)
        with self.assertRaises(UnknownApp):
            self.cluster.person.ask(Retire, app="nosuch", commit="master")

    def test_of_a_deploy_under_way_ends_it(self) -> None:
        self.cluster.push()
        self.drone.trouble["http"] = STUCK
        self.cluster.deploy()
        self.retire()
        self.assertEqual(self.cluster.releases(), {"v1": "deployed", "v2": "retired"})
        self.cluster.pass_time(200)
        self.assertEqual(self.cluster.releases(), {"v1": "deployed", "v2": "retired"})

    def test_deployed_again_it_starts_from_nothing(self) -> None:
        self.retire()
        self.assertEqual(self.cluster.deploy()["release"], "v1")
        self.assertEqual((self.cluster.states()[0], self.drone.lines), ("deployed", {"http.v1": Goal.RUN}))


class StopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push()
        self.drone = self.cluster.drone()
        self.cluster.deploy()
        self.id = self.drone.ids["http.v1"]

    def state(self) -> str:
        (row,) = self.cluster.rows("instances")
        return str(row["state"])

    def test_is_saved_until_restart(self) -> None:
        self.cluster.person.ask(Stop, ids=[self.id])
        self.assertEqual((self.state(), self.drone.lines), ("stopped", {"http.v1": Goal.STOP}))
        self.cluster.restart()
        self.drone.join()
        self.assertEqual((self.state(), self.drone.lines), ("stopped", {"http.v1": Goal.STOP}))
        generations = self.cluster.person.ask(Restart, ids=[self.id])["generations"]
        (row,) = self.cluster.rows("instances")
        self.assertEqual((row["id"], row["state"], row["generation"]), (self.id, "ready", generations[self.id]))

    def test_is_told_once_as_an_event_of_the_app(self) -> None:
        for _ in range(2):
            self.cluster.person.ask(Stop, ids=[self.id, self.id])
        rows = self.cluster.person.ask(Events, app="webapp", newest=10, above=0)["rows"]
        self.assertEqual([row["detail"] for row in rows if row["what"] == "stop"], [self.id])

    def test_holds_until_a_new_deploy(self) -> None:
        self.cluster.person.ask(Stop, ids=[self.id])
        self.assertTrue(self.cluster.deploy()["changed"])
        self.assertEqual((self.state(), self.cluster.states()[0]), ("ready", "deployed"))

    def test_of_an_instance_on_a_drone_that_is_away_waits_for_it(self) -> None:
        self.drone.leave()
        self.cluster.person.ask(Stop, ids=[self.id])
        self.drone.join()
        goals = [line.goal for told in self.drone.told for line in told.values()]
        self.assertEqual(goals, [Goal.RUN, Goal.DRAIN, Goal.STOP])

    def test_unknown_instances_are_named_and_then_none_is_stopped(self) -> None:
        with self.assertRaisesRegex(UnknownInstance, "http-0000"):
            self.cluster.person.ask(Stop, ids=[self.id, "http-0000"])
        with self.assertRaises(UnknownInstance):
            self.cluster.person.ask(Restart, ids=["nosuch"])
        for wrong in ([], "x", [1], ["x"] * 1001):
            with self.assertRaises(UsageError):
                self.cluster.person.ask(Stop, ids=wrong)
        self.assertEqual(self.state(), "ready")

    def test_restart_of_one_that_runs_starts_it_anew(self) -> None:
        self.cluster.person.ask(Restart, ids=[self.id])
        (line,) = self.drone.told[-1].values()
        self.assertEqual((line.goal, line.generation, line.id), (Goal.RUN, 1, self.id))

    def test_a_stop_in_mid_deploy_fails_it_with_that_reason(self) -> None:
        self.cluster.push()
        self.drone.trouble["http"] = STUCK
        self.cluster.deploy()
        self.cluster.person.ask(Stop, ids=[self.drone.ids["http.v2"]])
        self.assertEqual(self.cluster.states("v2")[0], "failed")
        self.assertIn("was stopped", self.cluster.status("v2")["drones"][0]["reason"])
