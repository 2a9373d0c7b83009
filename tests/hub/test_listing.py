"""What there is: the rows of the reference."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd import __version__
from deployd.errors import UnknownApp, UnknownCommit, UnknownDrone, UsageError
from deployd.model.instance import State
from deployd.wire.control import DrainDrone, List, Retire, Status
from tests.hub.rig import Cluster


class ListingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.first = self.cluster.push()
        self.drone = self.cluster.drone("d1", labels={"region": "eu"})
        self.cluster.drone("d2")
        self.cluster.deploy()
        self.second = self.cluster.push()
        self.cluster.deploy(drones=["d1"])
        self.other = self.cluster.push("team/webapp")
        self.cluster.deploy(app="team/webapp", drones=["d2"])

    def ids(self, **filters: str) -> list[tuple[str, str, str]]:
        return [(row["app"], row["release"], row["drone"]) for row in self.cluster.rows("instances", **filters)]

    def test_an_instance_has_its_keys(self) -> None:
        row = self.cluster.rows("instances", drone="d1")[0]
        self.assertEqual(
            row,
            {
                "id": self.drone.ids["http.v1"],
                "app": "webapp",
                "release": "v1",
                "commit": self.first,
                "role": "http",
                "drone": "d1",
                "state": "ready",
                "port": 20000,
                "pid": 1,
                "restarts": 0,
                "reason": "",
                "host": "192.0.2.7",
                "generation": 0,
            },
        )

    def test_instances_are_sorted_and_filtered(self) -> None:
        everything = [
            ("team/webapp", "v1", "d2"),
            ("webapp", "v1", "d1"),
            ("webapp", "v1", "d2"),
            ("webapp", "v2", "d1"),
        ]
        self.assertEqual(self.ids(), everything)
        self.assertEqual(self.ids(app="webapp"), everything[1:])
        self.assertEqual(self.ids(drone="d1"), [everything[1], everything[3]])
        self.assertEqual(self.ids(commit="v1"), everything[:3])
        self.assertEqual(self.ids(commit=self.second[:6]), everything[3:])
        self.assertEqual(self.ids(app="webapp", commit="master"), everything[3:])
        self.assertEqual(self.ids(app="webapp", commit="v1", drone="d2"), [everything[2]])
        self.assertEqual(self.ids(app="team/webapp", drone="d1"), [])

    def test_unknown_filters_are_named(self) -> None:
        for error, filters in (
            (UnknownApp, {"app": "nosuch"}),
            (UsageError, {"app": "../x"}),
            (UnknownDrone, {"drone": "nosuch"}),
            (UnknownCommit, {"commit": "v9"}),
            (UnknownCommit, {"commit": "0" * 40}),
            (UnknownCommit, {"app": "team/webapp", "commit": self.first}),
        ):
            with self.assertRaises(error):
                self.cluster.rows("instances", **filters)
        with self.assertRaises(UnknownApp):
            self.cluster.rows("releases", app="nosuch")
        with self.assertRaises(UsageError):
            self.cluster.rows("secrets")

    def test_what_a_drone_has_not_told_yet_is_waited_for(self) -> None:
        self.cluster.drone("d3", joins=False).join(reports=False)
        self.assertEqual([row["state"] for row in self.cluster.rows("instances", drone="d3")], ["waiting"])

    def test_after_a_restart_of_the_hub_what_is_to_go_is_there_until_its_drone_has_said_otherwise(self) -> None:
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=True)
        self.cluster.person.ask(DrainDrone, name="d1", drain=False, force=True)
        for drone in self.cluster.drones:
            drone.follows = False
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=True)
        self.cluster.person.ask(Retire, app="team/webapp", commit="v1")
        self.cluster.restart()
        everything = [("team/webapp", "v1", "d2"), ("webapp", "v1", "d1"), ("webapp", "v1", "d2")]
        everything.append(("webapp", "v2", "d1"))
        self.assertEqual([found for found in self.ids() if found != ("team/webapp", "v1", "d1")], everything)
        self.assertEqual({row["state"] for row in self.cluster.rows("instances")}, {"waiting"})
        self.cluster.pass_time(11)
        self.assertEqual({row["state"] for row in self.cluster.rows("instances")}, {"away"})
        self.drone.join(reports=False)
        self.assertEqual(self.ids(drone="d1"), [("webapp", "v1", "d1"), ("webapp", "v2", "d1")])
        self.drone.seen = {}
        self.drone.report()
        self.assertEqual(self.ids(drone="d1"), [])

    def test_between_its_return_and_its_report_a_drone_has_what_it_had(self) -> None:
        self.drone.follows = False
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=True)
        self.drone.leave()
        self.drone.join(reports=False)
        self.assertEqual(self.ids(drone="d1"), [("webapp", "v1", "d1"), ("webapp", "v2", "d1")])

    def test_what_an_away_drone_should_have_is_away(self) -> None:
        self.drone.leave()
        states = {row["release"]: (row["state"], row["pid"]) for row in self.cluster.rows("instances", drone="d1")}
        self.assertEqual(states, {"v1": ("away", 0), "v2": ("away", 0)})

    def test_apps_have_heads_and_releases_have_states(self) -> None:
        self.cluster.restart()
        rows = self.cluster.rows("apps")
        self.assertEqual(rows, [{"app": "team/webapp", "head": self.other}, {"app": "webapp", "head": self.second}])
        self.assertEqual(self.cluster.rows("apps", app="webapp"), rows[1:])
        found = [
            (row["app"], row["release"], row["commit"], row["state"])
            for row in self.cluster.rows("releases", app="webapp")
        ]
        self.assertEqual(found, [("webapp", "v1", self.first, "deployed"), ("webapp", "v2", self.second, "deployed")])

    def test_drones_have_labels_and_states(self) -> None:
        self.drone.leave()
        rows = [(row["name"], row["state"], row["labels"]) for row in self.cluster.rows("drones")]
        self.assertEqual(rows, [("d1", "away", {"region": "eu"}), ("d2", "connected", {})])

    def test_releases_are_in_the_order_of_their_numbers(self) -> None:
        for _ in range(10):
            self.cluster.push()
            self.cluster.deploy(drones=["d1"])
        self.assertEqual(list(self.cluster.releases("webapp")), [f"v{number}" for number in range(1, 13)])

    def test_more_than_a_message_holds_comes_in_pages(self) -> None:
        reason = "x" * 900
        for _ in range(100):
            self.cluster.push()
            self.cluster.deploy(drones=["d1"])
        self.drone.change("http", state=State.BACKOFF, reason=reason)
        page = self.cluster.person.ask(List, kind="instances", app="", commit="", drone="d1", after="")
        self.assertNotEqual(page["next"], "")
        rows = self.cluster.rows("instances", drone="d1")
        self.assertEqual(len(rows), 102)
        self.assertEqual(len({row["id"] for row in rows}), 102)

    def test_a_machine_that_is_emptied_says_so(self) -> None:
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=True)
        self.assertEqual([row["state"] for row in self.cluster.rows("drones")], ["draining", "connected"])

    def test_status_counts_and_has_no_secret(self) -> None:
        self.drone.leave()
        document = self.cluster.person.ask(Status)["document"]
        self.assertEqual(
            document,
            {
                "version": __version__,
                "epoch": self.cluster.hub.ledger.epoch,
                "addresses": {"amp": "192.0.2.1:6001", "http": "192.0.2.1:6002", "registry": "192.0.2.1:6000"},
                "apps": 2,
                "drones": {"connected": 1, "away": 1},
                "releases": {"deployed": 3},
                "routers": {"live": 0, "waiting": 0},
                "routes": 0,
                "instances": {"ready": 2},
                "limits": {"unknown": "d1, d2"},
            },
        )
