"""``promote``, ``pause``, ``resume``, ``abort``."""

from __future__ import annotations

from typing import Any

from deployd.errors import Refused, UnknownCommit, UnknownRoute, UsageError
from deployd.model.instance import State
from deployd.wire.control import Promote, RemoveRoute, Retire, Steer
from tests.hub.test_routes import RoutesCase


class PromotionTests(RoutesCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster.route("v1", sticky=True)

    def promote(self, commit: str = "v2", steps: Any = (5, 25, 100), **more: Any) -> int:
        asked = {"host": "shop.example", "path": "/", "every": 60.0, "force": False} | more
        return int(self.cluster.person.ask(Promote, commit=commit, steps=list(steps), **asked)["number"])

    def steer(self, deed: str, host: str = "shop.example") -> int:
        return int(self.cluster.person.ask(Steer, host=host, path="/", deed=deed)["number"])

    def test_it_makes_a_step_after_each_time_until_it_has_everything(self) -> None:
        self.assertEqual(self.promote(), 2)
        self.assertEqual(self.shares(), {"v1": 95, "v2": 5})
        self.cluster.pass_time(55)
        self.assertEqual(self.shares(), {"v1": 95, "v2": 5})
        self.cluster.pass_time(5)
        self.assertEqual(self.shares(), {"v1": 75, "v2": 25})
        promotion = {"release": "v2", "steps": [5, 25, 100], "step": 2, "every": 60.0, "paused": False}
        self.assertEqual(self.row()["promotion"], promotion)
        self.cluster.pass_time(60)
        self.assertEqual((self.shares(), self.row()["promotion"], self.row()["sticky"]), ({"v2": 1}, None, True))
        self.cluster.pass_time(300)
        rows = self.cluster.rows("history")
        self.assertEqual([row["what"] for row in rows], ["set", "promote", "promote", "promote"])
        self.assertEqual([row["who"] for row in rows[1:]], ["test 1@127.0.0.1", "hub", "hub"])
        self.assertEqual(self.cluster.events()[-3:], ["promote"] * 3)

    def test_routers_follow_each_step(self) -> None:
        router = self.cluster.router()
        self.promote()
        self.assertEqual(router.shares(), {"v1": 95, "v2": 5})
        self.cluster.pass_time(60)
        self.assertEqual(router.shares(), {"v1": 75, "v2": 25})

    def test_it_survives_a_restart_and_its_time_starts_anew(self) -> None:
        self.promote()
        self.cluster.pass_time(50)
        self.restart()
        self.cluster.pass_time(55)
        self.assertEqual(self.shares(), {"v1": 95, "v2": 5})
        self.cluster.pass_time(5)
        self.assertEqual(self.shares(), {"v1": 75, "v2": 25})

    def test_after_a_restart_it_waits_for_the_drones_to_return(self) -> None:
        self.promote(every=1.0)
        self.cluster.restart()
        self.cluster.pass_time(10)
        for drone in self.drones:
            drone.join()
        self.assertEqual(self.shares(), {"v1": 95, "v2": 5})
        self.cluster.pass_time(5)
        self.assertEqual(self.shares(), {"v1": 75, "v2": 25})
        self.assertNotIn("promotion paused", self.cluster.events())

    def test_one_that_is_begun_after_a_restart_waits_for_nothing(self) -> None:
        self.restart()
        self.promote(every=1.0)
        self.cluster.pass_time(1)
        self.assertEqual(self.shares(), {"v1": 75, "v2": 25})

    def test_a_paused_one_makes_no_step_until_it_is_resumed(self) -> None:
        self.promote()
        self.steer("pause")
        self.assertEqual(self.steer("pause"), 2)
        self.cluster.pass_time(200)
        self.restart()
        self.cluster.pass_time(200)
        self.assertEqual((self.shares(), self.row()["promotion"]["paused"]), ({"v1": 95, "v2": 5}, True))
        self.steer("resume")
        self.cluster.pass_time(60)
        self.assertEqual(self.shares(), {"v1": 75, "v2": 25})
        told = [event for event in self.cluster.events() if event.startswith("promotion")]
        self.assertEqual(told, ["promotion paused", "promotion resumed"])

    def test_an_abort_puts_back_what_was_before(self) -> None:
        self.promote()
        self.cluster.pass_time(60)
        self.assertEqual(self.steer("abort"), 4)
        self.assertEqual((self.shares(), self.row()["promotion"]), ({"v1": 1}, None))
        self.cluster.pass_time(200)
        self.assertEqual(self.shares(), {"v1": 1})
        self.assertEqual(self.cluster.rows("history")[-1]["what"], "abort")
        self.assertEqual(self.cluster.events()[-1], "promotion aborted")
        self.assertIn("no earlier setting", str(self.assertRaises(Refused, self.roll_back)))

    def test_a_setting_a_rollback_and_a_removal_end_it(self) -> None:
        for end in (lambda: self.cluster.route("v3"), self.roll_back, self.remove):
            self.promote(steps=(10, 100))
            end()
            self.cluster.pass_time(120)
            self.assertEqual([row["promotion"] for row in self.cluster.rows("routes")], [None] * bool(self.hosts()))
            self.assertRaises(UnknownRoute if not self.hosts() else Refused, self.steer, "pause")
            if self.hosts():
                self.assertNotIn("v2", self.shares())
                self.cluster.route("v1", sticky=True)

    def hosts(self) -> list[str]:
        return [row["host"] for row in self.cluster.rows("routes")]

    def remove(self) -> None:
        self.cluster.person.ask(RemoveRoute, host="shop.example", path="/")

    def test_a_release_that_is_no_longer_good_pauses_it_with_the_reason(self) -> None:
        self.promote()
        self.drones[0].change("http", state=State.BACKOFF)
        self.cluster.pass_time(60)
        self.assertEqual((self.shares(), self.row()["promotion"]["paused"]), ({"v1": 95, "v2": 5}, True))
        event = self.successResultOf(self.cluster.store.events(1))[0]
        self.assertEqual((event.what, event.who), ("promotion paused", "hub"))
        self.assertIn("shop.example: v2 gets no more: it is below what its deploy needed: 2 of 2", event.detail)
        self.drones[0].change("http", state=State.READY)
        self.steer("resume")
        self.cluster.pass_time(60)
        self.assertEqual(self.shares(), {"v1": 75, "v2": 25})

    def test_a_step_that_cannot_be_saved_is_made_later(self) -> None:
        self.promote()
        self.cluster.store.full = True
        self.cluster.pass_time(65)
        self.cluster.store.full = False
        self.cluster.pass_time(5)
        self.assertEqual(self.shares(), {"v1": 75, "v2": 25})

    def test_a_release_that_cannot_be_routed_is_not_promoted(self) -> None:
        self.cluster.person.ask(Retire, app="webapp", commit="v2")
        self.assertIn("retire", str(self.assertRaises(Refused, self.promote)))
        self.drones[1].leave()
        self.assertIn("below", str(self.assertRaises(Refused, self.promote, "v3")))
        self.assertEqual(self.promote("v3", force=True), 2)

    def test_only_one_at_a_time(self) -> None:
        self.promote()
        self.assertIn("v2 is being promoted", str(self.assertRaises(Refused, self.promote, "v3")))

    def test_what_makes_no_sense_is_refused_with_a_sentence(self) -> None:
        self.assertIn("5,25,100", str(self.assertRaises(UsageError, self.promote, steps=(5, 25))))
        self.assertIn("one second", str(self.assertRaises(UsageError, self.promote, every=0.1)))
        self.assertIn("all requests already", str(self.assertRaises(UsageError, self.promote, "v1")))
        self.assertRaises(UnknownCommit, self.promote, "v9")
        self.assertRaises(UnknownRoute, self.promote, host="nosuch.example")
        self.assertRaises(UnknownRoute, self.steer, "pause", "nosuch.example")
        self.assertIn("nothing is being promoted", str(self.assertRaises(Refused, self.steer, "abort")))
        self.assertIn("'stop'", str(self.assertRaises(UsageError, self.steer, "stop")))
