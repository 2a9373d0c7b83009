"""Logs through the hub."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import DroneAway, UnknownApp, UnknownCommit, UnknownDrone, UsageError
from deployd.wire.control import Logs, LogSources, Retire
from tests.hub.rig import Cluster
from tests.hub.talking_drone import PAGE, TalkingDrone


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push()
        self.drone = TalkingDrone(self.cluster)
        self.cluster.deploy()


class SourcesTests(Case):
    def sources(self, commit: str = "", drone: str = "", app: str = "webapp") -> tuple[dict[str, bool], list[str]]:
        answer = self.cluster.person.ask(LogSources, app=app, commit=commit, drone=drone)
        return {row["name"]: row["connected"] for row in answer["drones"]}, answer["releases"]

    def test_are_all_drones_that_take_the_app_also_those_that_are_away(self) -> None:
        TalkingDrone(self.cluster, "d2").leave()
        TalkingDrone(self.cluster, "d3", apps=("another",))
        self.assertEqual(self.sources(), ({"d1": True, "d2": False}, []))
        self.assertEqual(self.sources(drone="d2")[0], {"d2": False})

    def test_a_commit_means_all_its_releases_and_a_name_one(self) -> None:
        self.assertEqual(self.sources("master")[1], ["v1"])
        self.assertEqual(self.sources("v1")[1], ["v1"])
        self.cluster.push(files={"other": b"x"})
        self.cluster.deploy()
        self.assertEqual(self.sources(self.commit[:10])[1], ["v1"])
        self.assertEqual(self.sources("master")[1], ["v2"])

    def test_a_release_that_is_gone_has_logs(self) -> None:
        self.cluster.person.ask(Retire, app="webapp", commit="v1")
        self.assertEqual(self.sources("v1"), ({"d1": True}, ["v1"]))

    def test_what_is_not_there_is_named(self) -> None:
        for error, asked in (
            (UnknownApp, {"app": "nope"}),
            (UnknownCommit, {"commit": "v7"}),
            (UnknownDrone, {"drone": "nope"}),
        ):
            self.assertRaises(error, self.sources, **asked)
        self.cluster.push(files={"other": b"x"})
        self.assertRaises(UnknownCommit, self.sources, "master")


class ReadingTests(Case):
    def read(self, drone: str = "d1", **more: Any) -> Any:
        asked = {"app": "webapp", "releases": ["v1"], "role": "", "after": 5, "newest": 100, "wait": 1.0} | more
        return self.cluster.person.ask(Logs, drone=drone, **asked)

    def test_goes_through_to_the_drone(self) -> None:
        self.assertEqual(self.read(role="http"), PAGE)
        asked = {"app": "webapp", "releases": ["v1"], "role": "http", "after": 5, "newest": 100, "wait": 1.0}
        self.assertEqual(self.drone.asked, [asked])

    def test_is_asked_for_within_bounds(self) -> None:
        self.read(after=-9, newest=10**9, wait=1e9)
        (asked,) = self.drone.asked
        self.assertEqual((asked["after"], asked["newest"], asked["wait"]), (-1, 10_000, 20.0))

    def test_one_that_is_away_is_an_error_of_its_own(self) -> None:
        self.drone.leave()
        self.assertRaises(DroneAway, self.read)
        self.assertRaises(UnknownDrone, self.read, "nope")

    def test_what_could_lead_elsewhere_on_a_drone_is_refused(self) -> None:
        for asked in ({"app": "../x"}, {"releases": ["../v1"]}, {"role": "../x"}, {"releases": "v1"}):
            self.assertRaises(UsageError, self.read, **asked)
        self.assertEqual(self.drone.asked, [])
