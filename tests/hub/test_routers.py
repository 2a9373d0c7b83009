"""Routers at the hub: who is live, what each follows, and who waits for them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import NameInUse, PermissionRefused, Refused, UsageError
from deployd.hub.routers import LEASE
from deployd.net.identity import Identity
from deployd.wire.control import RemoveRoute, RouteStatus, Stop
from deployd.wire.routing import Enter
from tests.hub.fake_router import FakeRouter
from tests.hub.rig import Cluster


class RoutersCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push()
        self.drone = self.cluster.drone()
        self.cluster.deploy()

    def waiting(self) -> dict[str, str]:
        return {row["router"]: row["reason"] for row in self.cluster.person.ask(RouteStatus)["waiting"]}

    def live(self) -> tuple[str, ...]:
        return self.cluster.hub.routers.live()


class FollowingTests(RoutersCase):
    def test_it_is_told_everything_first(self) -> None:
        self.cluster.route("v1")
        router = self.cluster.router()
        self.assertEqual(router.shares(), {"v1": 1})
        self.assertEqual(router.drones, {self.drone.description.owner: "127.0.0.1"})
        self.assertEqual([base for base, _ in router.heard], [0])
        self.assertEqual(router.entered["registry"], "192.0.2.1:6000")

    def test_a_change_is_sent_as_what_has_changed(self) -> None:
        for n in range(50):
            self.cluster.route("v1", host=f"h{n}.example")
        router = self.cluster.router()
        first = router.revision
        self.cluster.route("v1=2", host="h7.example")
        self.cluster.person.ask(RemoveRoute, host="h8.example", path="/")
        self.cluster.settle()
        changes = router.heard[1:]
        self.assertEqual([len(items) for _, items in changes], [1, 1])
        self.assertEqual(changes[0][0], first.number)
        self.assertEqual(len(router.routes), 49)
        self.assertEqual(router.shares("h7.example"), {"v1": 2})
        self.assertEqual(self.waiting(), {})

    def test_who_asks_for_a_route_does_not_wait_for_what_ends_later(self) -> None:
        self.cluster.route("v1")
        self.cluster.router()
        self.cluster.router("r2")
        hanging = self.cluster.pumps.pop()
        self.cluster.person.ask(Stop, ids=[self.drone.ids["http.v1"]])
        self.assertEqual(self.waiting(), {})
        self.cluster.route("v1=2", host="b.example", force=True)
        self.assertEqual(list(self.waiting()), ["r2"])
        self.cluster.pumps.append(hanging)
        self.cluster.settle()
        self.assertEqual(self.waiting(), {})

    def test_several_changes_at_once_are_one_table(self) -> None:
        router = self.cluster.router()
        router.refuses = Refused("full")
        self.cluster.route("v1")
        for n in range(5):
            self.cluster.route("v1", host=f"h{n}.example")
        router.refuses = None
        heard = len(router.heard)
        self.cluster.pass_time(5)
        self.assertEqual((len(router.heard), len(router.routes)), (heard + 1, 6))

    def test_what_says_nothing_new_is_not_sent(self) -> None:
        self.cluster.route("v1")
        router = self.cluster.router()
        self.cluster.deploy()
        self.cluster.push("other")
        self.drone.report()
        self.assertEqual(len(router.heard), 1)

    def test_many_routes_come_in_parts(self) -> None:
        for n in range(600):
            self.cluster.route("v1", host=f"{n}.{'x' * 60}.example")
        router = self.cluster.router()
        self.assertEqual((len(router.routes), len(router.heard)), (600, 1))

    def test_drones_are_told_as_they_come_and_go(self) -> None:
        router = self.cluster.router()
        other = self.cluster.drone("d2")
        self.assertEqual(set(router.drones), {self.drone.description.owner, other.description.owner})
        other.leave()
        self.cluster.forget("d2")
        self.assertEqual(set(router.drones), {self.drone.description.owner})

    def test_one_that_refuses_is_told_everything_again(self) -> None:
        self.cluster.route("v1")
        router = self.cluster.router()
        router.refuses = Refused("the disk is full")
        self.cluster.route("v1=2")
        self.assertIn("has not acknowledged yet: the disk is full", self.waiting()["r1"])
        router.refuses = None
        self.cluster.pass_time(5)
        self.assertEqual((self.waiting(), router.shares(), router.heard[-1][0]), ({}, {"v1": 2}, 0))

    def test_one_that_comes_back_is_told_everything(self) -> None:
        router = self.cluster.router()
        router.leave()
        self.cluster.route("v1")
        router.enter()
        self.assertEqual((router.heard[-1][0], router.shares()), (0, {"v1": 1}))

    def test_tables_of_a_restarted_hub_are_newer(self) -> None:
        self.cluster.route("v1")
        router = self.cluster.router()
        before = router.revision
        self.cluster.restart()
        router.enter()
        self.assertEqual(router.revision.epoch, before.epoch)
        self.assertGreater(router.revision.number, before.number)


class LeaseTests(RoutersCase):
    def test_a_router_is_live_until_its_lease_is_over(self) -> None:
        router = self.cluster.router()
        router.leave()
        self.cluster.pass_time(LEASE - 5)
        self.assertEqual(self.live(), ("r1",))
        self.assertEqual(self.waiting(), {"r1": "is away since 5 s; its lease runs for 5 s more"})
        self.cluster.pass_time(5)
        self.assertEqual((self.live(), self.waiting()), ((), {}))
        self.assertEqual(self.cluster.events()[-2:], ["router joined", "router lost"])
        self.assertEqual(self.cluster.store.desired.routers, {})

    def test_one_that_comes_back_in_time_stays_live(self) -> None:
        router = self.cluster.router()
        router.leave()
        self.cluster.pass_time(5)
        router.enter()
        self.cluster.pass_time(60)
        self.assertEqual(self.live(), ("r1",))
        self.assertEqual(self.cluster.events().count("router joined"), 1)

    def test_one_that_says_goodbye_is_not_waited_for(self) -> None:
        router = self.cluster.router()
        router.depart()
        self.assertEqual((self.live(), self.cluster.events()[-1]), ((), "router left"))
        router.leave()
        self.cluster.restart()
        self.assertEqual(self.live(), ())

    def test_a_restarted_hub_gives_all_that_it_knew_one_lease(self) -> None:
        back, gone = self.cluster.router("r1"), self.cluster.router("r2")
        self.assertEqual((back.entered["lease"], gone.entered["epoch"]), (LEASE, self.cluster.hub.ledger.epoch))
        self.cluster.restart()
        self.assertEqual(self.live(), ("r1", "r2"))
        back.enter()
        self.assertEqual(set(self.waiting()), {"r2"})
        self.cluster.pass_time(LEASE)
        self.assertEqual((self.live(), self.waiting()), (("r1",), {}))

    def test_nobody_waits_for_one_whose_end_cannot_be_saved(self) -> None:
        router = self.cluster.router()
        router.leave()
        self.cluster.store.full = True
        self.cluster.pass_time(LEASE)
        self.assertEqual(self.live(), ())
        self.cluster.store.full = False
        self.cluster.router("r1")
        self.assertEqual(self.live(), ("r1",))
        self.assertEqual([router.name for router in self.cluster.store.desired.routers.values()], ["r1"])

    def test_a_newer_session_takes_the_place_of_the_older(self) -> None:
        router = self.cluster.router()
        old = router.peer
        router.enter()
        self.assertTrue(old.is_closed)
        self.cluster.route("v1")
        self.cluster.pass_time(2 * LEASE)
        self.assertEqual((self.live(), self.waiting(), router.shares()), (("r1",), {}, {"v1": 1}))

    def test_a_name_of_a_live_router_is_taken(self) -> None:
        self.cluster.router().leave()
        other = self.cluster.router("r1", enters=False)
        self.assertIn("another router is called r1", str(self.assertRaises(NameInUse, other.enter)))
        self.cluster.pass_time(LEASE)
        other.enter()
        self.assertEqual(self.live(), ("r1",))

    def test_one_can_come_back_with_another_name(self) -> None:
        router = self.cluster.router()
        router.leave()
        router.name = "r2"
        router.enter()
        self.assertEqual((self.live(), len(self.cluster.store.desired.routers)), (("r2",), 1))

    def test_it_enters_once_with_a_name_and_an_identity(self) -> None:
        router = self.cluster.router("no name", enters=False)
        self.assertRaises(UsageError, router.enter)
        router = self.cluster.router()
        self.assertRaises(PermissionRefused, router.ask, Enter, name="r1")
        stranger = FakeRouter(self.cluster, "r3")
        stranger.identity = None  # type: ignore[assignment]
        self.assertRaises(PermissionRefused, stranger.enter)
        stranger.identity = Identity.create()
        stranger.peer = self.cluster.connect("route", stranger.identity, lambda _: stranger)
        self.assertRaises(PermissionRefused, stranger.stand)
