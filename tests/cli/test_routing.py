"""A change of routes is asked for once, and done when every router follows."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.routing import promoting, removing, rolling_back, setting, steering
from deployd.errors import NoAnswer, Refused, UnknownRoute, Unreachable
from deployd.model.route import RouteKey
from tests.cli.clusters import Bench

SHOP = RouteKey("shop.example")
HELD_UP = [{"router": "r2", "reason": "worker 1 has not taken the table over"}]
OPTIONS = {"preview": False, "sticky": True, "https": False, "force": False}


class SettingTests(SynchronousTestCase):
    def set_route(self, bench: Bench) -> Deferred[object]:
        shares = [("v1", 9), ("v2", 1)]
        return bench.start(setting(bench.cluster, SHOP, "webapp", "http", shares, **OPTIONS))

    def test_ends_when_every_router_follows(self) -> None:
        bench = Bench(routers=2, held_up=HELD_UP)
        working = self.set_route(bench)
        self.assertNoResult(working)
        bench.change(held_up=[])
        settled = self.successResultOf(working)
        self.assertEqual(settled.exit_code, 0)
        self.assertEqual(
            settled.done, ("shop.example goes to webapp:http, v1 90% v2 10% (number 7); 2 routers follow",)
        )
        self.assertEqual(
            settled.document, {"host": "shop.example", "path": "/", "number": 7, "routers": 2, "waiting": []}
        )
        (asked,) = bench.hub.asked_for("SetRoute")
        self.assertEqual(asked["shares"], [["v1", 9], ["v2", 1]])
        self.assertEqual({name: asked[name] for name in OPTIONS}, OPTIONS)

    def test_asks_no_more_than_it_must(self) -> None:
        bench = Bench(routers=1)
        self.successResultOf(self.set_route(bench))
        self.assertEqual([name for name, _ in bench.hub.asked], ["SetRoute", "RouteStatus"])
        self.assertEqual(bench.way.dialled, 1)

    def test_without_a_router_it_says_so(self) -> None:
        settled = self.successResultOf(self.set_route(Bench()))
        self.assertEqual(settled.exit_code, 0)
        self.assertIn("no router is there yet", settled.done[0])

    def test_names_after_five_seconds_the_router_that_does_not_follow(self) -> None:
        bench = Bench(seconds=100, routers=2, held_up=HELD_UP)
        working = self.set_route(bench)
        bench.way.advance(4.8)
        self.assertNoResult(working)
        bench.way.advance(0.4)
        settled = self.successResultOf(working)
        self.assertEqual((settled.exit_code, settled.done), (1, ()))
        self.assertIn("r2: worker 1 has not taken the table over", settled.undone[0])
        self.assertEqual(settled.document["waiting"], HELD_UP)

    def test_changes_that_do_not_help_do_not_make_it_wait_longer(self) -> None:
        bench = Bench(seconds=100, routers=2, held_up=HELD_UP)
        working = self.set_route(bench)
        for _ in range(11):
            bench.way.advance(0.5)
            bench.change()
        self.assertEqual(self.successResultOf(working).exit_code, 1)

    def test_a_smaller_timeout_counts(self) -> None:
        bench = Bench(seconds=2, routers=2, held_up=HELD_UP)
        working = self.set_route(bench)
        bench.way.advance(2)
        self.assertEqual(self.successResultOf(working).exit_code, 1)

    def test_many_routers_are_counted(self) -> None:
        held_up = [{"router": f"r{number}", "reason": "away"} for number in range(8)]
        bench = Bench(seconds=1, routers=8, held_up=held_up)
        working = self.set_route(bench)
        bench.way.advance(1)
        self.assertIn("r4: away, and 3 more", self.successResultOf(working).undone[0])

    def test_a_refusal_is_told_and_nothing_is_awaited(self) -> None:
        bench = Bench(errors={"SetRoute": Refused("v2 has 1 of 2 ready")})
        self.failureResultOf(self.set_route(bench), Refused)
        self.assertEqual(bench.hub.asked_for("RouteStatus"), [])

    def test_a_hub_that_goes_away_meanwhile_has_saved_the_change(self) -> None:
        bench = Bench(seconds=10, routers=1, held_up=HELD_UP)
        working = self.set_route(bench)
        bench.way.up = False
        bench.way.cut()
        bench.way.advance(11)
        failure = self.failureResultOf(working, Unreachable, NoAnswer)
        self.assertIn("the change is saved", str(failure.value))

    def test_a_hub_that_comes_back_is_asked_again(self) -> None:
        bench = Bench(seconds=10, routers=1, held_up=HELD_UP)
        working = self.set_route(bench)
        bench.way.cut()
        bench.way.advance(1)
        self.assertNoResult(working)
        bench.change(held_up=[])
        self.assertEqual(self.successResultOf(working).exit_code, 0)
        self.assertEqual(len(bench.hub.asked_for("SetRoute")), 1)


class OtherChangesTests(SynchronousTestCase):
    def test_a_route_is_removed(self) -> None:
        bench = Bench(routers=1)
        settled = self.successResultOf(bench.start(removing(bench.cluster, RouteKey("shop.example", "/api"))))
        self.assertEqual(settled.done, ("shop.example/api has no route any more; 1 router follows",))
        self.assertEqual(bench.hub.asked_for("RemoveRoute"), [{"host": "shop.example", "path": "/api"}])

    def test_a_rollback_says_what_is_back(self) -> None:
        bench = Bench(routers=20)
        settled = self.successResultOf(bench.start(rolling_back(bench.cluster, SHOP, 0)))
        self.assertEqual(
            settled.done, ("shop.example is back at number 3: webapp:http, v1 100% (number 8); 20 routers follow",)
        )
        self.assertEqual((settled.document["number"], settled.document["back_to"]), (8, 3))
        self.assertEqual(len(bench.hub.asked), 2)

    def test_a_rollback_without_a_route_is_refused(self) -> None:
        bench = Bench(errors={"RollBack": UnknownRoute()})
        self.failureResultOf(bench.start(rolling_back(bench.cluster, SHOP, 0)), UnknownRoute)

    def test_a_promotion_begins(self) -> None:
        bench = Bench(routers=1)
        settled = self.successResultOf(bench.start(promoting(bench.cluster, SHOP, "v2", [5, 25, 100], 60.0, False)))
        self.assertEqual(settled.exit_code, 0)
        self.assertIn("all requests of shop.example: 5%, 25%, 100%, a step every 60 s (number 9)", settled.done[0])
        self.assertEqual(bench.hub.asked_for("Promote")[0]["steps"], [5, 25, 100])

    def test_a_promotion_is_steered(self) -> None:
        for deed in ("pause", "resume", "abort"):
            bench = Bench(routers=1)
            self.assertEqual(self.successResultOf(bench.start(steering(bench.cluster, SHOP, deed))).exit_code, 0)
            self.assertEqual(bench.hub.asked_for("Steer"), [{"host": "shop.example", "path": "/", "deed": deed}])
