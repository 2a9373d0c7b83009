"""What planned stops ask of the routers, and what routers have counted."""

from __future__ import annotations

from attrs import evolve

from deployd.errors import Malformed
from deployd.hub.routers import LEASE, MAX_STANDING
from deployd.hub.tallies import MAX_TALLIES
from deployd.model.desired import Desired
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, Tally
from deployd.model.router import ReleaseKey, Standing
from deployd.storage.memory import MemoryStore
from tests.hub.fake_router import FakeRouter
from tests.hub.test_routers import RoutersCase


class PassingTests(RoutersCase):
    """What planned stops ask."""

    def setUp(self) -> None:
        super().setUp()
        self.routers = self.cluster.hub.routers
        self.freed = Revision("registry", 7)
        self.key = ReleaseKey("webapp", "v1")

    def plan(self, leaving: set[str] = frozenset(), retiring: set[ReleaseKey] = frozenset()) -> None:  # type: ignore[assignment]
        """As a review would, which knows of nothing that ends."""
        desired: Desired = self.cluster.hub.ledger.desired
        self.routers.plan(desired.routes, desired.drones, frozenset(leaving), frozenset(retiring))
        for peer in self.cluster.pumps:
            peer.flush()

    def stands(self, router: FakeRouter, **more: object) -> None:
        self.routers.stand(self.session(router), evolve(Standing(self.table, self.freed), **more))

    def session(self, router: FakeRouter) -> object:
        return self.routers._members[router.identity.owner].session

    @property
    def table(self) -> Revision:
        return self.routers._table.revision

    def test_without_a_router_everything_has_passed(self) -> None:
        self.assertTrue(self.routers.passed("http-1", self.freed))
        self.assertTrue(self.routers.quiet(self.key))

    def test_a_router_has_passed_when_it_follows_both_tables_and_nothing_is_under_way(self) -> None:
        router = self.cluster.router()
        self.assertFalse(self.routers.passed("http-1", None))
        before = self.table
        self.plan({"http-1"})
        self.stands(router, table=before)
        self.assertFalse(self.routers.passed("http-1", None))
        self.stands(router, busy={"http-1": 1})
        self.assertFalse(self.routers.passed("http-1", None))
        self.stands(router, registry=Revision("registry", 6), busy={"http-2": 1})
        self.assertTrue(self.routers.passed("http-1", None))
        self.assertFalse(self.routers.passed("http-1", self.freed))
        for registry in (self.freed, Revision("registry", 8), Revision("another", 1)):
            self.stands(router, registry=registry)
            self.assertTrue(self.routers.passed("http-1", self.freed))

    def test_a_later_table_does_not_take_it_back(self) -> None:
        router = self.cluster.router()
        self.plan({"http-1"})
        self.stands(router)
        self.plan({"http-1", "http-2"})
        self.assertTrue(self.routers.passed("http-1", self.freed))
        self.assertFalse(self.routers.passed("http-2", self.freed))

    def test_one_that_leaves_for_the_second_time_has_to_pass_again(self) -> None:
        router = self.cluster.router()
        self.plan({"http-1"})
        self.stands(router)
        self.plan()
        self.plan({"http-1"})
        self.assertFalse(self.routers.passed("http-1", None))

    def test_every_live_router_counts(self) -> None:
        first, second = self.cluster.router("r1"), self.cluster.router("r2")
        self.plan({"http-1"})
        self.stands(first)
        self.assertFalse(self.routers.passed("http-1", None))
        second.leave()
        self.plan({"http-1"})
        self.stands(first)
        self.assertFalse(self.routers.passed("http-1", None))
        self.cluster.clock.advance(LEASE)
        self.plan({"http-1"})
        self.stands(first)
        self.assertTrue(self.routers.passed("http-1", None))

    def test_a_release_is_quiet_when_nothing_of_it_is_under_way(self) -> None:
        router = self.cluster.router()
        self.plan(retiring={self.key})
        self.assertFalse(self.routers.quiet(self.key))
        self.stands(router, releases={"webapp v1": 2, "webapp v2": 1})
        self.assertFalse(self.routers.quiet(self.key))
        self.stands(router, releases={"webapp v2": 1})
        self.assertTrue(self.routers.quiet(self.key))

    def test_a_table_of_a_lost_state_of_the_hub_proves_nothing(self) -> None:
        backup = MemoryStore()
        self.cluster.restore(backup)
        self.routers = self.cluster.hub.routers
        router = self.cluster.router()
        self.plan({"http-1"})
        self.stands(router, table=evolve(self.table, number=self.table.number + 1000))
        self.assertFalse(self.routers.passed("http-1", None))
        self.stands(router, table=Revision("lost", self.table.number))
        self.assertFalse(self.routers.passed("http-1", None))
        self.stands(router)
        self.assertTrue(self.routers.passed("http-1", None))

    def test_what_it_says_is_bounded(self) -> None:
        router = self.cluster.router()
        many = {f"http-{n}": 1 for n in range(MAX_STANDING + 1)}
        self.assertRaises(Malformed, self.stands, router, busy=many)
        self.assertRaises(Malformed, self.stands, router, releases=many)
        wrong = Tally(RouteKey("shop.example"), "v1", slow=(1, 2))
        self.assertRaises(Malformed, router.count, wrong)


class TallyTests(RoutersCase):
    def tally(self, requests: int, host: str = "shop.example") -> Tally:
        return Tally(RouteKey(host), "v1", requests=requests)

    def total(self, host: str = "shop.example") -> int:
        return self.cluster.hub.routers.tallies.total(RouteKey(host), "v1").requests

    def test_a_newer_count_replaces_an_older_one(self) -> None:
        router = self.cluster.router()
        router.count(self.tally(1), self.tally(5, "other.example"))
        router.count(self.tally(3))
        self.assertEqual((self.total(), self.total("other.example")), (3, 5))

    def test_the_counts_of_a_router_that_is_gone_go_with_it(self) -> None:
        router = self.cluster.router()
        router.count(self.tally(3))
        router.depart()
        router.count(self.tally(4))
        self.assertEqual(self.total(), 0)

    def test_they_are_bounded(self) -> None:
        tallies = self.cluster.hub.routers.tallies
        many = [self.tally(1, f"h{n}.example") for n in range(MAX_TALLIES)]
        tallies.take("r1", many)
        tallies.take("r1", [self.tally(7)])
        self.assertEqual((self.total(), self.total("h1.example")), (7, 0))
        self.assertRaises(Malformed, tallies.take, "r1", [*many, self.tally(1)])
