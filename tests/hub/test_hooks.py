"""The release command, as the hub sees to it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import DeploydError, Refused
from deployd.hub.deploys import USUAL_TIMEOUT
from deployd.model.instance import Goal, State
from deployd.planning.hooks import HOOK_LEASE
from deployd.wire.control import DrainDrone, Restart, Retire, Stop
from tests.hub.rig import Cluster, FakeDrone

FILES = {"Procfile": b"release: migrate\nhttp: serve\n"}
RUNS = {"state": State.STARTING}
LOST = "d1 was lost while it ran the release command; whether it finished is unknown"


class HooksCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push(files=FILES)
        self.drones = [self.drone(name) for name in ("d1", "d2")]

    def drone(self, name: str, **description: Any) -> FakeDrone:
        drone = self.cluster.drone(name, command=(), **description)
        drone.trouble["release"] = RUNS
        return drone

    def end(self, drone: FakeDrone, state: State = State.DONE, **more: Any) -> None:
        drone.trouble["release"] = {"state": state} | more
        drone.change("release", state=state, **more)

    def reasons(self, release: str = "v1") -> dict[str, str]:
        return {row["drone"]: row["reason"] for row in self.cluster.status(release)["drones"]}


class HookTests(HooksCase):
    def test_runs_on_one_drone_and_then_the_rest_starts_everywhere(self) -> None:
        self.cluster.deploy()
        first, second = self.drones
        self.assertEqual((first.lines, second.lines), ({"release.v1": Goal.RUN}, {}))
        self.assertEqual(
            self.reasons(), {"d1": "runs the release command", "d2": "waits for the release command on d1"}
        )
        self.end(first)
        for drone in self.drones:
            self.assertEqual(drone.lines, {"http.v1": Goal.RUN})
        self.assertEqual(self.cluster.states(), ("deployed", {"d1": "ready", "d2": "ready"}))
        self.assertEqual(self.cluster.events()[-4:], ["deploy", "release command", "release command done", "deployed"])
        self.assertEqual({row["role"] for row in self.cluster.rows("instances")}, {"http"})

    def test_that_fails_fails_the_deploy_with_its_output_and_nothing_starts(self) -> None:
        self.cluster.deploy()
        self.end(self.drones[0], State.FAILED, reason="exited with code 3", tail="no such table\n")
        status = self.cluster.status()
        self.assertEqual((status["state"], status["reason"]), ("failed", "the release command failed on d1"))
        self.assertEqual(
            status["drones"],
            [
                {
                    "drone": "d1",
                    "state": "failed",
                    "reason": "the release command failed: exited with code 3",
                    "tail": "no such table\n",
                },
                {"drone": "d2", "state": "pending", "reason": "waits for the release command on d1", "tail": ""},
            ],
        )
        self.assertEqual([drone.lines for drone in self.drones], [{}, {}])
        self.assertEqual(self.cluster.events()[-2:], ["release command failed", "deploy failed"])

    def test_a_new_deploy_runs_it_again_in_a_new_attempt(self) -> None:
        self.cluster.deploy()
        self.end(self.drones[0], State.FAILED)
        self.drones[0].leave()
        self.cluster.deploy(drones=["d2"])
        self.assertEqual(self.drones[1].lines, {"release.v1": Goal.RUN})
        (line,) = self.drones[1].told[-1].values()
        self.assertEqual((line.once, line.generation), (True, 1))
        self.end(self.drones[1])
        self.assertEqual(self.cluster.states(), ("deployed", {"d2": "ready"}))

    def test_deployed_on_more_drones_it_does_not_run_again(self) -> None:
        self.cluster.deploy(drones=["d1"])
        self.end(self.drones[0])
        self.cluster.deploy()
        self.assertEqual([drone.lines for drone in self.drones], [{"http.v1": Goal.RUN}] * 2)
        self.drone("d3")
        self.assertEqual(self.cluster.drones[-1].lines, {"http.v1": Goal.RUN})

    def test_whoever_needs_only_one_drone_waits_for_it_too(self) -> None:
        self.cluster.deploy(need="1")
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.end(self.drones[0], State.FAILED)
        self.assertEqual(self.cluster.states()[0], "failed")

    def test_drones_with_commands_of_their_own_run_it_too(self) -> None:
        cluster = Cluster()
        cluster.push(files=FILES)
        drone = cluster.drone("d1")
        drone.trouble["release"] = RUNS
        cluster.deploy()
        (line,) = drone.told[-1].values()
        self.assertEqual((line.role, line.argv[-1]), ("release", "migrate"))

    def test_nothing_runs_where_it_cannot_be_met_anyway(self) -> None:
        self.cluster.push("other")
        self.cluster.drone("d3", command=(), apps=["other"])
        with self.assertRaises(Refused):
            self.cluster.deploy(need="4")
        self.cluster.deploy(drones=["d3"])
        self.assertEqual(self.cluster.states()[0], "failed")
        self.assertIn("takes the app", self.cluster.status()["reason"])

    def test_is_not_restarted_by_hand(self) -> None:
        self.cluster.deploy()
        with self.assertRaises(Refused) as caught:
            self.cluster.person.ask(Restart, ids=[self.drones[0].ids["release.v1"]])
        self.assertIn("deploy", str(caught.exception))

    def test_stopped_by_hand_it_fails_the_deploy_and_runs_in_the_next(self) -> None:
        self.cluster.deploy()
        self.cluster.person.ask(Stop, ids=[self.drones[0].ids["release.v1"]])
        self.assertEqual(self.cluster.states()[0], "failed")
        self.assertNotIn(Goal.RUN, self.drones[0].lines.values())
        self.cluster.deploy()
        self.assertEqual(self.drones[0].lines, {"release.v1": Goal.RUN})
        self.end(self.drones[0])
        self.assertEqual(self.cluster.states()[0], "deployed")

    def test_a_drone_that_is_emptied_ends_it_first(self) -> None:
        self.cluster.deploy()
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=False)
        self.assertEqual(self.drones[0].lines, {"release.v1": Goal.RUN})
        self.end(self.drones[0])
        self.assertEqual((self.drones[0].lines, self.drones[1].lines), ({}, {"http.v1": Goal.RUN}))
        self.assertEqual(self.cluster.states(), ("deployed", {"d2": "ready"}))

    def test_past_the_time_of_the_deploy_it_is_ended(self) -> None:
        self.cluster.deploy(timeout=60.0)
        self.cluster.pass_time(60)
        self.assertEqual(self.cluster.states()[0], "failed")
        self.assertEqual(self.reasons()["d1"], "runs the release command")
        self.assertNotIn(Goal.RUN, self.drones[0].lines.values())

    def test_the_usual_time_of_a_deploy_does_not_count_while_it_runs(self) -> None:
        self.cluster.deploy(timeout=0.0)
        self.assertEqual(self.cluster.status()["left"], USUAL_TIMEOUT)
        self.cluster.pass_time(3 * USUAL_TIMEOUT)
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.assertGreater(self.cluster.status()["left"], 0)
        self.drones[1].trouble["http"] = {"state": State.BUILDING}
        self.end(self.drones[0])
        self.cluster.pass_time(3 * USUAL_TIMEOUT)
        self.assertEqual(self.cluster.states(), ("deploying", {"d1": "ready", "d2": "pending"}))
        self.drones[1].change("http", state=State.STARTING)
        self.cluster.pass_time(USUAL_TIMEOUT)
        self.assertEqual(self.cluster.states()[0], "failed")
        self.assertEqual(self.cluster.status()["left"], 0)

    def test_done_it_holds_up_no_retirement(self) -> None:
        self.cluster.deploy()
        self.drones[0].follows = False
        self.end(self.drones[0])
        self.cluster.person.ask(Retire, app="webapp", commit="v1")
        self.drones[0].report()
        self.assertEqual(self.cluster.releases(), {"v1": "retired"})


class LostTests(HooksCase):
    def test_a_drone_that_is_away_for_long_fails_the_deploy(self) -> None:
        self.cluster.deploy()
        self.drones[0].leave()
        self.assertEqual(self.cluster.states(), ("deploying", {"d1": "away", "d2": "pending"}))
        self.cluster.pass_time(HOOK_LEASE - 1)
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.cluster.pass_time(1)
        self.assertEqual(self.cluster.states(), ("failed", {"d1": "failed", "d2": "pending"}))
        self.assertEqual((self.cluster.status()["reason"], self.reasons()["d1"]), (LOST, LOST))
        self.drones[0].join()
        self.assertEqual([drone.lines.get("release.v1", Goal.STOP) for drone in self.drones], [Goal.STOP] * 2)

    def test_one_that_returns_in_time_goes_on_with_it(self) -> None:
        self.cluster.deploy()
        for _ in range(3):
            self.drones[0].leave()
            self.cluster.pass_time(HOOK_LEASE - 1)
            self.drones[0].join()
        self.end(self.drones[0])
        self.assertEqual(self.cluster.states()[0], "deployed")
        self.assertEqual(len({line.generation for told in self.drones[0].told for line in told.values()}), 1)

    def test_one_that_is_forgotten_is_lost_at_once(self) -> None:
        self.cluster.deploy()
        self.drones[0].leave()
        self.cluster.forget("d1")
        self.assertEqual(self.cluster.status()["reason"], LOST)

    def test_a_hub_that_was_killed_goes_on_and_waits_for_the_same_drone(self) -> None:
        self.cluster.deploy()
        self.cluster.restart()
        self.drones[1].join()
        self.cluster.pass_time(HOOK_LEASE - 1)
        self.assertEqual(self.drones[1].lines, {})
        self.drones[0].join()
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.end(self.drones[0])
        self.assertEqual(self.cluster.states(), ("deployed", {"d1": "ready", "d2": "ready"}))

    def test_after_a_kill_of_the_hub_too_it_is_not_waited_for_for_ever(self) -> None:
        self.cluster.deploy()
        self.cluster.restart()
        self.drones[1].join()
        self.cluster.pass_time(HOOK_LEASE)
        self.assertEqual(self.cluster.status()["reason"], LOST)

    def test_a_choice_that_cannot_be_saved_is_not_told(self) -> None:
        for drone in self.drones:
            drone.leave()
        self.cluster.deploy()
        self.cluster.store.full = True
        for drone in self.drones:
            drone.join()
        self.assertEqual([drone.lines for drone in self.drones], [{}, {}])
        self.cluster.store.full = False
        self.cluster.pass_time(10)
        self.assertEqual([drone.lines for drone in self.drones], [{"release.v1": Goal.RUN}, {}])


class RestoredTests(HooksCase):
    """A backup that was made in the middle of a deploy, before or after a drone was chosen."""

    def restored(self) -> None:
        backup = deepcopy(self.cluster.store)
        self.cluster.restore(backup)
        self.drones[0].revision = evolve(self.drones[0].revision, number=2**60)
        self.assertRaises(DeploydError, self.drones[0].join)
        for drone in self.drones:
            drone.told = []
            drone.join()
        self.assertFalse([line for drone in self.drones for told in drone.told for line in told.values() if line.once])

    def test_its_deploy_fails_and_the_command_is_not_run_again(self) -> None:
        self.cluster.deploy()
        self.restored()
        self.assertEqual(self.cluster.releases(), {"v1": "failed"})
        self.assertIn("whether its release command ran is unknown", self.cluster.status()["reason"])

    def test_nor_where_nobody_was_chosen_yet(self) -> None:
        for drone in self.drones:
            drone.leave()
        self.cluster.deploy()
        self.restored()
        self.assertEqual(self.cluster.releases(), {"v1": "failed"})


DEEDS = st.lists(
    st.tuples(st.sampled_from(["leave", "join", "hub", "wait", "end", "fail", "deploy"]), st.integers(0, 1)),
    max_size=25,
)


class HookProperties(SynchronousTestCase):
    @settings(max_examples=30, deadline=None)
    @given(DEEDS)
    def test_whatever_leaves_and_returns_one_drone_is_told_once_an_attempt(self, deeds: list[tuple[str, int]]) -> None:
        case = HookTests()
        case.setUp()
        cluster = case.cluster
        cluster.deploy()
        for deed, which in deeds:
            drone = case.drones[which]
            is_there = not drone.peer.is_closed
            if deed == "leave" and is_there:
                drone.leave()
            elif deed == "join" and not is_there:
                drone.join()
            elif deed == "hub":
                cluster.restart()
            elif deed == "wait":
                cluster.pass_time(HOOK_LEASE)
            elif deed in ("end", "fail") and is_there:
                case.end(drone, State.DONE if deed == "end" else State.FAILED)
                drone.trouble["release"] = RUNS
            elif deed == "deploy":
                cluster.deploy()
        told = {
            (line.generation, drone.description.name)
            for drone in case.drones
            for lines in drone.told
            for line in lines.values()
            if line.once and line.goal is Goal.RUN
        }
        attempts = [attempt for attempt, _ in told]
        self.assertEqual(len(attempts), len(set(attempts)))
