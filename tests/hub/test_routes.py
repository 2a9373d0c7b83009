"""``route set``, ``route rm``, ``rollback``, and the rows of ``route show``."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused, UnknownApp, UnknownCommit, UnknownRoute, UsageError
from deployd.model.instance import State
from deployd.model.route import LATENCIES, MAX_WEIGHT, RouteKey, Tally
from deployd.wire.control import DrainDrone, RemoveRoute, Retire, RollBack, Stop
from tests.hub.rig import Cluster


class RoutesCase(SynchronousTestCase):
    """Three releases of one app, each ready on two drones."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.drones = [self.cluster.drone("d1"), self.cluster.drone("d2")]
        self.commits = []
        for _ in range(3):
            self.commits.append(self.cluster.push())
            self.cluster.deploy()

    def restart(self) -> None:
        """The hub, killed and started; the drones come back to it."""
        self.cluster.restart()
        for drone in self.drones:
            drone.join()

    def row(self, host: str = "shop.example") -> dict[str, Any]:
        (row,) = self.cluster.rows("routes", app=host)
        return row

    def shares(self, host: str = "shop.example") -> dict[str, int]:
        return {share["release"]: share["weight"] for share in self.row(host)["shares"]}

    def roll_back(self, to: int = 0, host: str = "shop.example") -> dict[str, Any]:
        answer: dict[str, Any] = self.cluster.person.ask(RollBack, host=host, path="/", to=to)
        return answer

    def sentence(self, error: type[Exception], *shares: str, **more: Any) -> str:
        return str(self.assertRaises(error, self.cluster.route, *shares, **more))

    def retire(self, commit: str) -> None:
        self.cluster.person.ask(Retire, app="webapp", commit=commit)


class SettingTests(RoutesCase):
    def test_a_setting_is_saved_and_numbered(self) -> None:
        self.assertEqual(self.cluster.route("v1=90", "v2=10"), 1)
        self.assertEqual(self.cluster.route("v1=50", "v2=50"), 2)
        self.assertEqual(self.shares(), {"v1": 50, "v2": 50})
        self.cluster.restart()
        self.assertEqual(self.shares(), {"v1": 50, "v2": 50})

    def test_a_commit_names_its_newest_release(self) -> None:
        self.cluster.route(self.commits[1][:10], "master=3")
        self.assertEqual(self.shares(), {"v2": 1, "v3": 3})

    def test_it_is_an_event_with_who_and_what(self) -> None:
        self.cluster.route("v1=90", "v2=10", preview=True, sticky=True, https=True)
        event = self.successResultOf(self.cluster.store.events(1))[0]
        self.assertEqual((event.what, event.app, event.who), ("route set", "webapp", "test 1@127.0.0.1"))
        self.assertEqual(event.detail, "shop.example: webapp:http v1=90 v2=10 preview sticky https")

    def test_what_is_in_force_already_changes_nothing(self) -> None:
        self.cluster.route("v1")
        saves, events = self.cluster.store.saves, self.cluster.events()
        self.assertEqual(self.cluster.route("v1"), 1)
        self.assertEqual((self.cluster.store.saves, self.cluster.events()), (saves, events))

    def test_a_route_is_its_host_and_path(self) -> None:
        self.cluster.route("v1", host="Shop.Example.")
        self.cluster.route("v2", path="/api/")
        self.cluster.route("v3", host="*")
        keys = [(row["host"], row["path"], row["shares"][0]["release"]) for row in self.cluster.rows("routes")]
        self.assertEqual(keys, [("*", "/", "v3"), ("shop.example", "/", "v1"), ("shop.example", "/api", "v2")])

    def test_a_full_disk_refuses_and_changes_nothing(self) -> None:
        self.cluster.route("v1")
        self.cluster.store.full = True
        self.assertIn("disk is full", self.sentence(Refused, "v2"))
        self.assertEqual(self.shares(), {"v1": 1})


class RefusalTests(RoutesCase):
    def test_a_release_below_its_need_is_refused_unless_forced(self) -> None:
        self.drones[1].leave()
        text = self.sentence(Refused, "v1")
        self.assertIn("webapp v1 gets no requests: it is below what its deploy needed: 2 of 2 drones", text)
        self.assertIn("--force", text)
        self.assertEqual(self.cluster.route("v1", force=True), 1)

    def test_a_release_that_is_still_deployed_is_refused_unless_forced(self) -> None:
        self.drones[0].trouble["http"] = {"state": State.STARTING}
        self.cluster.push()
        self.cluster.deploy()
        self.assertIn("still being deployed", self.sentence(Refused, "v4"))
        self.assertEqual(self.cluster.route("v4", force=True), 1)

    def test_one_whose_need_is_met_by_others_needs_an_instance_in_the_role(self) -> None:
        files = {"Procfile": b"http: serve\nsay: talk\n"}
        for drone in self.drones:
            drone.leave()
        self.cluster.drone("d3", command=(), roles=("say",))
        self.cluster.drone("d4", command=(), roles=("http",))
        self.cluster.push(files=files)
        self.cluster.deploy(drones=["d3", "d4"], need="1")
        self.cluster.drones[-1].leave()
        self.assertIn("no instance of it is ready in role http", self.sentence(Refused, "v4"))
        self.assertEqual(self.cluster.route("v4", role="say", host="say.example"), 1)

    def test_a_failed_or_retired_release_is_refused_even_if_forced(self) -> None:
        for drone in self.drones:
            drone.trouble["http"] = {"state": State.BACKOFF, "fatal": True}
        self.cluster.push()
        self.cluster.deploy()
        self.assertIn("has failed", self.sentence(Refused, "v4", force=True))
        self.retire("v1")
        self.assertIn("retire", self.sentence(Refused, "v1", force=True))

    def test_an_unknown_role_is_refused_with_those_there_are(self) -> None:
        text = self.sentence(UsageError, "v1", role="web", force=True)
        self.assertEqual(text, "webapp v1 has no role 'web'; it has http")

    def test_a_role_without_a_port_takes_no_requests(self) -> None:
        self.cluster.drone("d3", command=("work",), role="worker")
        self.assertIn("has no port", self.sentence(UsageError, "v1", role="worker", force=True))

    def test_no_such_app_commit_or_host_is_wrong_usage(self) -> None:
        self.assertIn("nosuch", self.sentence(UnknownApp, "v1", app="nosuch"))
        self.assertIn("v9", self.sentence(UnknownCommit, "v9"))
        self.assertIn("not a host", self.sentence(UsageError, "v1", host="a b"))
        self.assertIn("not a path", self.sentence(UsageError, "v1", path="/../x"))
        self.assertIn("not a role", self.sentence(UsageError, "v1", role="a/b"))

    def test_shares_are_bounded_and_whole(self) -> None:
        self.assertIn("same release", self.sentence(UsageError, "v1", self.commits[0]))
        self.assertIn("at least one", self.sentence(UsageError, "v1=0"))
        self.assertIn("at least one", self.sentence(UsageError))
        self.assertIn("from 0 to", self.sentence(UsageError, f"v1={MAX_WEIGHT + 1}"))
        self.assertIn("from 0 to", self.sentence(UsageError, "v1=-1"))
        self.assertIn("at most 20", self.sentence(UsageError, *["v1"] * 21))
        self.assertEqual(self.cluster.rows("routes"), [])

    def test_a_drone_that_is_being_told_something_else_is_ready_all_the_same(self) -> None:
        for drone in self.drones:
            drone.follows = False
        self.cluster.push("other")
        self.cluster.deploy(app="other")
        self.assertEqual(self.cluster.route("v2"), 1)


class RemovalTests(RoutesCase):
    def test_a_route_goes_with_its_history(self) -> None:
        self.cluster.route("v1")
        self.cluster.route("v2", path="/api")
        self.cluster.person.ask(RemoveRoute, host="shop.example", path="")
        self.assertEqual([row["path"] for row in self.cluster.rows("routes")], ["/api"])
        self.assertEqual(self.cluster.events()[-1], "route removed")
        self.restart()
        self.assertEqual(self.cluster.route("v1"), 1)

    def test_what_is_not_there_is_said(self) -> None:
        error = self.assertRaises(UnknownRoute, self.cluster.person.ask, RemoveRoute, host="shop.example", path="/x")
        self.assertIn("'shop.example/x'", str(error))


class RollbackTests(RoutesCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster.route("v1")
        self.cluster.route("v1=9", "v2=1")
        self.cluster.route("v2")
        self.cluster.route("v3")

    def test_it_walks_back_and_says_what_is_in_force(self) -> None:
        answer = self.roll_back()
        self.assertEqual((answer["number"], answer["back_to"]), (5, 3))
        self.assertEqual(answer["setting"]["shares"], [{"release": "v2", "commit": self.commits[1], "weight": 1}])
        self.assertEqual(self.roll_back()["back_to"], 1)
        self.assertEqual(self.shares(), {"v1": 1})
        text = "there is no earlier setting of shop.example without v1"
        self.assertEqual(str(self.assertRaises(Refused, self.roll_back)), text)
        self.assertEqual(self.cluster.events()[-2:], ["rollback", "rollback"])

    def test_it_goes_on_from_there_after_a_restart(self) -> None:
        self.roll_back()
        self.restart()
        self.roll_back()
        self.assertEqual(self.shares(), {"v1": 1})

    def test_any_earlier_setting_can_be_put_back(self) -> None:
        self.assertEqual(self.roll_back(to=2)["back_to"], 2)
        self.assertEqual(self.shares(), {"v1": 9, "v2": 1})
        self.assertIn("has no setting 77", str(self.assertRaises(UsageError, self.roll_back, to=77)))

    def test_one_that_is_in_force_is_put_back_by_doing_nothing(self) -> None:
        self.assertEqual(self.roll_back(to=4)["number"], 4)
        self.assertNotIn("rollback", self.cluster.events())

    def test_it_needs_a_ready_target_of_each_release_that_has_weight(self) -> None:
        self.drones[0].change("http", state=State.BACKOFF)
        self.assertEqual(self.roll_back()["back_to"], 3)
        self.roll_back(to=4)
        self.drones[1].change("http", state=State.BACKOFF)
        error = self.assertRaises(Refused, self.roll_back)
        self.assertEqual(str(error), "no instance of webapp v2 is ready in role http")
        self.assertEqual(self.shares(), {"v3": 1})

    def test_what_is_ordered_to_end_is_no_target_any_more_though_it_is_ready_still(self) -> None:
        ids = [drone.ids["http.v2"] for drone in self.drones]
        for drone in self.drones:
            drone.follows = False
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=True)
        self.assertEqual(self.row()["shares"][0]["ready"], 1)
        self.assertEqual(self.roll_back()["back_to"], 3)
        self.roll_back(to=4)
        self.cluster.person.ask(Stop, ids=[ids[1]])
        self.assertIn("no instance of webapp v2 is ready", str(self.assertRaises(Refused, self.roll_back)))

    def test_a_release_that_is_gone_is_named(self) -> None:
        self.retire("v2")
        self.assertIn("webapp v2 is not there any more", str(self.assertRaises(Refused, self.roll_back)))
        self.assertEqual(self.roll_back(to=1)["number"], 5)

    def test_a_route_that_is_not_there_is_said(self) -> None:
        self.assertRaises(UnknownRoute, self.roll_back, host="nosuch.example")


class RowTests(RoutesCase):
    def test_a_row_says_everything(self) -> None:
        self.cluster.route("v1=90", "v2=10", sticky=True)
        share = {"release": "v1", "commit": self.commits[0], "weight": 90, "ready": 2, "requests": 0, "errors": 0}
        other = {"release": "v2", "commit": self.commits[1], "weight": 10}
        expected = {
            "host": "shop.example",
            "path": "/",
            "app": "webapp",
            "role": "http",
            "shares": [share | {"p50": None, "p99": None}, share | other | {"p50": None, "p99": None}],
            "preview": False,
            "sticky": True,
            "https": False,
            "number": 1,
            "promotion": None,
        }
        self.assertEqual(self.row(), expected)

    def test_only_what_is_ready_on_connected_drones_counts(self) -> None:
        self.cluster.route("v1")
        self.drones[0].leave()
        self.assertEqual(self.row()["shares"][0]["ready"], 1)
        self.drones[1].change("http", state=State.BACKOFF)
        self.assertEqual(self.row()["shares"][0]["ready"], 0)

    def test_what_the_routers_counted_is_added_up(self) -> None:
        self.cluster.route("v1", "v2")
        slow = [0] * (len(LATENCIES) + 1)
        slow[0], slow[3] = 90, 10
        for name in ("r1", "r2"):
            tally = Tally(RouteKey("shop.example"), "v1", requests=100, errors=3, seconds=1.5, slow=tuple(slow))
            self.cluster.router(name).count(tally)
        first, second = self.row()["shares"]
        self.assertEqual((first["requests"], first["errors"], first["p50"], first["p99"]), (200, 6, 0.005, 0.05))
        self.assertEqual((second["requests"], second["p50"]), (0, None))

    def test_history_has_every_setting_the_newest_last(self) -> None:
        self.cluster.route("v1")
        self.cluster.route("v2")
        self.roll_back()
        self.cluster.route("v3", host="other.example")
        rows = self.cluster.rows("history", app="shop.example")
        self.assertEqual(
            [(row["number"], row["what"], row["back_to"], row["shares"][0]["release"]) for row in rows],
            [(1, "set", 0, "v1"), (2, "set", 0, "v2"), (3, "rollback", 1, "v1")],
        )
        self.assertEqual((rows[0]["who"], rows[0]["host"], rows[0]["path"]), ("test 1@127.0.0.1", "shop.example", "/"))
        self.assertEqual(len(self.cluster.rows("history")), 4)

    def test_rows_are_filtered_by_host_and_path_and_what_is_not_there_is_said(self) -> None:
        self.cluster.route("v1")
        self.cluster.route("v2", path="/api")
        self.assertEqual(len(self.cluster.rows("routes", app="SHOP.example")), 2)
        self.assertEqual(len(self.cluster.rows("routes", app="shop.example/api")), 1)
        for text in ("nosuch.example", "shop.example/x"):
            self.assertRaises(UnknownRoute, self.cluster.rows, "routes", app=text)
            self.assertRaises(UnknownRoute, self.cluster.rows, "history", app=text)

    def test_many_come_in_pages(self) -> None:
        for n in range(400):
            self.cluster.route("v1", host=f"h{n}.example")
        hosts = [row["host"] for row in self.cluster.rows("routes")]
        self.assertEqual((len(hosts), len(set(hosts))), (400, 400))
        self.assertEqual(len(self.cluster.rows("history")), 400)

    def test_the_hub_counts_them(self) -> None:
        self.cluster.route("v1")
        self.cluster.router()
        document = self.cluster.hub.status()
        self.assertEqual((document["routes"], document["routers"]), (1, {"live": 1, "waiting": 0}))
