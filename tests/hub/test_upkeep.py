"""Pins, policies, and machines that are emptied."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused, UnknownApp, UnknownCommit, UnknownDrone, UsageError
from deployd.model.instance import Goal, State
from deployd.wire.control import DrainDrone, Pin, Restart, SetPolicy, Stop
from tests.hub.rig import Cluster

PROCFILE = {"Procfile": b"http: serve http\nsay: serve say\n"}
RUN = {"http.v1": Goal.RUN, "say.v1": Goal.RUN}


class UpkeepCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push(files=PROCFILE)
        self.d1 = self.cluster.drone("d1", command=())
        self.d2 = self.cluster.drone("d2", command=())
        self.cluster.deploy()

    def ask(self, command: Any, **arguments: Any) -> Any:
        return self.cluster.person.ask(command, **arguments)

    def drain(self, name: str = "d1", drain: bool = True, force: bool = False) -> None:
        self.ask(DrainDrone, name=name, drain=drain, force=force)

    def undrain(self, name: str = "d1") -> None:
        self.drain(name, drain=False)


class PinTests(UpkeepCase):
    def test_is_saved_once(self) -> None:
        for _ in range(2):
            answer = self.ask(Pin, app="webapp", commit="master", pinned=True)
        self.assertEqual(answer, {"commit": self.commit, "release": "v1"})
        self.cluster.restart()
        self.assertTrue(self.cluster.hub.ledger.desired.releases["webapp", 1].pinned)
        self.assertEqual([row["pinned"] for row in self.cluster.rows("releases", app="webapp")], [True])
        self.ask(Pin, app="webapp", commit="v1", pinned=False)
        self.assertFalse(self.cluster.hub.ledger.desired.releases["webapp", 1].pinned)
        self.assertEqual([event for event in self.cluster.events() if "pin" in event], ["pin", "unpin"])

    def test_of_what_is_not_there_is_refused(self) -> None:
        with self.assertRaises(UnknownCommit):
            self.ask(Pin, app="webapp", commit="v9", pinned=True)
        with self.assertRaises(UnknownApp):
            self.ask(Pin, app="nosuch", commit="master", pinned=True)


class PolicyTests(UpkeepCase):
    def test_is_saved_and_told_whole(self) -> None:
        values = self.ask(SetPolicy, app="webapp", values={"keep": "3", "keep-for": "7d"})["values"]
        others = {
            "allow-force": "off",
            "allow-delete": "all",
            "deploy-branch": "",
            "public": "off",
            "default-branch": "",
        }
        self.assertEqual(values, {"keep": "3", "keep-for": "604800s", "drain": "30s"} | others)
        self.cluster.restart()
        self.assertEqual(self.ask(SetPolicy, app="webapp", values={})["values"], values)
        values = self.ask(SetPolicy, app="webapp", values={"keep": ""})["values"]
        self.assertEqual(values["keep"], "1")
        self.assertEqual(self.cluster.events().count("app set"), 2)

    def test_the_default_branch_moves_to_one_that_is_there(self) -> None:
        tip = self.cluster.repositories.push("webapp", ref="refs/heads/next")
        values = self.ask(SetPolicy, app="webapp", values={"default-branch": "refs/heads/next"})["values"]
        self.assertEqual((values["default-branch"], self.cluster.repositories.head("webapp")), ("next", tip))
        with self.assertRaisesRegex(UnknownCommit, "webapp has no branch 'nosuch'; push it first"):
            self.ask(SetPolicy, app="webapp", values={"default-branch": "nosuch", "keep": "7"})
        self.assertEqual(self.ask(SetPolicy, app="webapp", values={})["values"], values)

    def test_what_is_none_is_refused(self) -> None:
        for wrong in ({"keep": "-1"}, {"public": "yes"}, {"nosuch": "1"}, {"keep": 3}, ["keep"], {"drain": "soon"}):
            with self.assertRaises(UsageError):
                self.ask(SetPolicy, app="webapp", values=wrong)
        with self.assertRaises(UnknownApp):
            self.ask(SetPolicy, app="nosuch", values={})


class DrainDroneTests(UpkeepCase):
    def test_empties_the_machine_and_uses_it_again(self) -> None:
        self.drain()
        self.assertEqual((self.d1.lines, self.d2.lines), ({}, RUN))
        goals = [{line.goal for line in told.values()} for told in self.d1.told[1:]]
        self.assertEqual(goals, [{Goal.RUN}, {Goal.DRAIN}, {Goal.STOP}, set()])
        self.drain()
        self.undrain()
        self.undrain()
        self.assertEqual(self.d1.lines, RUN)
        self.assertEqual([each for each in self.cluster.events() if "drain" in each], ["drain", "undrain"])
        with self.assertRaises(UnknownDrone):
            self.drain("nosuch")

    def test_waits_for_routers(self) -> None:
        router = self.cluster.router()
        http, say = self.d1.ids["http.v1"], self.d1.ids["say.v1"]
        router.busy[http] = 1
        self.drain()
        self.assertEqual(router.leaving, {http, say})
        self.cluster.pass_time(9)
        self.assertEqual(set(self.d1.lines.values()), {Goal.DRAIN})
        router.busy.clear()
        router.stand()
        self.cluster.settle()
        self.assertEqual((self.d1.lines, router.leaving), ({}, set()))

    def test_used_again_in_the_middle_what_drains_runs_on(self) -> None:
        router = self.cluster.router()
        router.busy[self.d1.ids["http.v1"]] = 1
        self.drain()
        before = self.d1.told[1]
        self.undrain()
        self.assertEqual((self.d1.lines, self.d1.told[-1], router.leaving), (RUN, before, set()))
        self.drain()
        self.assertEqual(set(self.d1.lines.values()), {Goal.DRAIN})

    def test_deploys_neither_ask_it_nor_wait_for_it(self) -> None:
        self.drain()
        self.cluster.push(files=PROCFILE)
        self.cluster.deploy()
        self.assertEqual(self.cluster.states("v2"), ("deployed", {"d2": "ready"}))
        self.assertEqual(self.d1.lines, {})
        with self.assertRaisesRegex(Refused, "d1 is being emptied.*undrain d1"):
            self.cluster.deploy(drones=["d1"])
        self.drain("d2")
        with self.assertRaisesRegex(Refused, "d1, d2 are being emptied; .*undrain d1"):
            self.cluster.deploy()

    def test_one_that_is_emptied_in_mid_deploy_is_not_waited_for(self) -> None:
        self.cluster.push(files=PROCFILE)
        self.d1.trouble["http"] = {"state": State.STARTING}
        self.cluster.deploy()
        self.assertEqual(self.cluster.states("v2")[0], "deploying")
        self.drain()
        self.assertEqual(self.cluster.states("v2"), ("deployed", {"d2": "ready"}))

    def test_right_after_a_start_of_the_hub_nothing_is_known_of_what_a_route_would_lose(self) -> None:
        self.cluster.route("v1")
        self.cluster.restart()
        with self.assertRaisesRegex(Refused, "d1 has not come back since the hub was started"):
            self.drain()
        self.cluster.pass_time(11)
        self.drain()
        self.assertTrue(self.cluster.hub.ledger.desired.drones["d1"].draining)

    def test_one_that_is_away_is_emptied_when_it_returns_also_to_a_new_hub(self) -> None:
        router = self.cluster.router()
        ids = set(self.d1.ids.values())
        self.d1.leave()
        self.drain()
        self.assertEqual(router.leaving, ids)
        self.cluster.restart()
        router.enter()
        self.assertEqual(router.leaving, ids)
        self.d1.join()
        self.cluster.pass_time(2)
        self.assertEqual((self.d1.lines, router.leaving), ({}, set()))
        self.d1.leave()
        self.d1.join()
        self.assertTrue(self.cluster.hub.ledger.desired.drones["d1"].draining)

    def test_the_last_ready_instance_that_a_route_needs_keeps_it(self) -> None:
        self.cluster.route("v1")
        self.d2.change("say", state=State.BACKOFF)
        with self.assertRaisesRegex(Refused, "d1 has the last ready say of webapp v1, to which shop.example sends"):
            self.drain()
        self.drain("d2")
        with self.assertRaisesRegex(Refused, "the last ready http of webapp v1"):
            self.drain()
        self.drain(force=True)
        self.assertEqual(self.d1.lines, {})

    def test_what_only_another_emptied_or_absent_drone_has_does_not_count(self) -> None:
        self.cluster.route("v1")
        self.d2.leave()
        with self.assertRaises(Refused):
            self.drain()
        self.d2.join()
        self.drain()
        self.undrain()

    def test_its_instances_are_stopped_for_ever_but_not_started(self) -> None:
        router = self.cluster.router()
        http = self.d1.ids["http.v1"]
        router.busy[http] = 1
        self.drain()
        with self.assertRaisesRegex(Refused, "on d1, which is being emptied; `deployctl undrain d1`"):
            self.ask(Restart, ids=[http])
        self.ask(Stop, ids=[http])
        self.assertFalse(self.cluster.hub.ledger.desired.orders[http].orphan)
        self.undrain()
        self.assertEqual(self.d1.lines["http.v1"], Goal.DRAIN)
        self.assertEqual(self.d1.lines["say.v1"], Goal.RUN)
