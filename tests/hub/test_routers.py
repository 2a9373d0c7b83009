"""Routers at the hub: who is live, what each follows, and who waits for them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.wire.control import RemoveRoute, RouteStatus
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
