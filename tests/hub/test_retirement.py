"""Planned stops in their order: the drone, the routers, what is under way."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.model.desired import Changes
from deployd.model.instance import Goal, State
from deployd.model.revision import Revision
from deployd.wire.control import Pin, Restart, Retire, RetireUnused, SetPolicy, SetRoute, Stop
from tests.hub.rig import Cluster, done

PROCFILE = {"Procfile": b"http: serve http\nsay: serve say\n"}


class StopCase(SynchronousTestCase):
    """One drone with a release of two roles, one router; ``goals`` is what the drone was told of ``v1``'s http."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push(files=PROCFILE)
        self.drone = self.cluster.drone(command=())
        self.cluster.deploy()
        self.http, self.say = self.drone.ids["http.v1"], self.drone.ids["say.v1"]
        self.router = self.cluster.router()

    def ask(self, command: Any, **arguments: Any) -> Any:
        return self.cluster.person.ask(command, **arguments)

    def retire(self) -> None:
        self.ask(Retire, app="webapp", commit="v1")

    def goals(self, role: str = "http") -> list[Goal]:
        """What it was told, without repetitions."""
        told = [line.goal for each in self.drone.told for line in each.values() if line.role == role]
        return [goal for n, goal in enumerate(told) if n == 0 or goal is not told[n - 1]]

    def limit(self, seconds: int) -> None:
        self.ask(SetPolicy, app="webapp", values={"drain": f"{seconds}s"})


class DrainTests(StopCase):
    def test_a_stop_waits_until_routers_have_passed_and_peers_have_settled(self) -> None:
        self.router.busy[self.http] = 1
        self.ask(Stop, ids=[self.http])
        self.assertEqual(self.router.leaving, {self.http})
        self.cluster.pass_time(10)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.router.busy.clear()
        self.router.stand()
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])
        self.assertEqual(self.goals("say"), [Goal.RUN])

    def test_a_second_goes_by_after_the_row_is_gone(self) -> None:
        self.ask(Stop, ids=[self.http])
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.cluster.pass_time(0.9)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.cluster.pass_time(0.2)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])
        self.assertEqual(self.router.leaving, set())

    def test_without_a_router_nothing_is_waited_for(self) -> None:
        self.router.depart()
        self.ask(Stop, ids=[self.http])
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])

    def test_a_router_that_is_away_is_waited_for_until_its_lease_is_over(self) -> None:
        self.router.leave()
        self.ask(Stop, ids=[self.http])
        self.cluster.pass_time(5)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.cluster.pass_time(6)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])

    def test_a_router_that_has_not_read_the_port_table_is_waited_for(self) -> None:
        self.router.registry = Revision("registry", 0)
        self.ask(Stop, ids=[self.http])
        self.cluster.pass_time(5)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.router.registry = Revision("registry", 2)
        self.router.stand()
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])

    def test_the_limit_of_the_app_ends_all_waiting(self) -> None:
        self.limit(60)
        self.router.busy[self.http] = 1
        self.ask(Stop, ids=[self.http])
        self.cluster.pass_time(59)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.cluster.pass_time(2)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])

    def test_while_the_registry_is_away_routers_still_have_to_pass(self) -> None:
        self.drone.follows = False
        self.router.busy[self.http] = 1
        self.ask(Stop, ids=[self.http])
        self.drone.revision = Revision(self.drone.revision.epoch, self.drone.revision.number)
        self.drone.change("http", state=State.DRAINING)
        self.cluster.pass_time(20)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.router.busy.clear()
        self.router.stand()
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])

    def test_a_restart_of_the_hub_in_the_middle_goes_on_with_it(self) -> None:
        self.router.busy[self.http] = 1
        self.ask(Stop, ids=[self.http])
        self.cluster.restart()
        # Nobody is sent there though its drone has not come back yet.
        self.router.enter()
        self.assertEqual(self.router.leaving, {self.http})
        self.drone.join()
        self.cluster.pass_time(5)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.router.busy.clear()
        self.router.stand()
        self.cluster.pass_time(1.1)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN, Goal.STOP])

    def test_what_is_wanted_no_more_on_a_drone_that_is_away_gets_no_requests(self) -> None:
        self.drone.leave()
        self.retire()
        self.assertEqual(self.router.leaving, {self.http, self.say})
        self.drone.join(reports=False)
        self.assertEqual(self.router.leaving, {self.http, self.say})
        self.drone.report()
        self.assertEqual(self.router.leaving, {self.http, self.say})
        self.cluster.pass_time(2)
        self.assertEqual((self.router.leaving, self.drone.lines), (set(), {}))
        self.assertEqual(self.cluster.releases(), {"v1": "retired"})

    def test_a_failed_deploy_ends_in_the_same_order(self) -> None:
        self.cluster.push(files=PROCFILE)
        self.drone.trouble["say"] = {"state": State.BACKOFF, "fatal": True, "reason": "no"}
        self.cluster.deploy()
        self.assertEqual(self.cluster.releases(), {"v1": "deployed", "v2": "failed"})
        self.assertEqual(self.drone.lines["http.v2"], Goal.DRAIN)
        self.cluster.pass_time(1.1)
        self.assertEqual({**self.drone.lines}, {"http.v1": Goal.RUN, "say.v1": Goal.RUN})


class RestartTests(StopCase):
    def line(self) -> tuple[Goal, int]:
        line = self.drone.told[-1][self.http]
        return line.goal, line.generation

    def test_drains_the_old_process_before_the_new_one_is_assigned(self) -> None:
        self.router.busy[self.http] = 1
        self.ask(Restart, ids=[self.http])
        self.assertEqual((self.line(), self.router.leaving), ((Goal.DRAIN, 0), {self.http}))
        self.cluster.pass_time(3)
        self.assertEqual(self.line(), (Goal.DRAIN, 0))
        self.drone.follows = False
        self.router.busy.clear()
        self.router.stand()
        self.assertEqual((self.line(), self.router.leaving), ((Goal.RUN, 1), {self.http}))
        # The one that ends is still seen: it is not told to drain once more, and is asked nothing.
        self.drone.change("http", state=State.STOPPING)
        self.assertEqual((self.line(), self.router.leaving), ((Goal.RUN, 1), {self.http}))
        self.drone._follow()
        self.cluster.settle()
        self.assertEqual((self.line(), self.router.leaving), ((Goal.RUN, 1), set()))

    def test_drains_again_the_next_time(self) -> None:
        for generation in (1, 2):
            self.ask(Restart, ids=[self.http])
            self.assertEqual(self.line(), (Goal.DRAIN, generation - 1))
            self.cluster.pass_time(1.1)
            self.assertEqual(self.line(), (Goal.RUN, generation))

    def test_of_what_is_not_ready_goes_at_once(self) -> None:
        self.drone.change("http", state=State.BACKOFF)
        self.drone.follows = False
        self.ask(Restart, ids=[self.http])
        self.assertEqual(self.line(), (Goal.RUN, 1))

    def test_a_deploy_meanwhile_waits_for_the_new_process(self) -> None:
        self.ask(Restart, ids=[self.http])
        self.cluster.drone("d2", command=())
        self.cluster.deploy()
        self.assertEqual(self.cluster.states(), ("deploying", {"d1": "pending", "d2": "ready"}))
        self.cluster.pass_time(1.1)
        self.assertEqual(self.cluster.states(), ("deployed", {"d1": "ready", "d2": "ready"}))


class QuietTests(StopCase):
    def test_a_release_runs_as_it_is_until_its_requests_have_ended(self) -> None:
        self.router.releases["webapp v1"] = 1
        self.retire()
        self.assertEqual(self.router.retiring, {"webapp v1"})
        self.cluster.pass_time(10)
        self.assertEqual((self.goals(), self.goals("say")), ([Goal.RUN], [Goal.RUN]))
        self.assertEqual(self.cluster.releases(), {"v1": "retiring"})
        self.router.releases.clear()
        self.router.stand()
        self.assertEqual((self.goals(), self.goals("say")), ([Goal.RUN, Goal.DRAIN], [Goal.RUN, Goal.DRAIN]))
        self.cluster.pass_time(1.1)
        self.assertEqual((self.drone.lines, self.cluster.releases()), ({}, {"v1": "retired"}))
        self.assertEqual(self.router.retiring, set())

    def test_it_is_waited_for_as_long_as_the_app_says(self) -> None:
        self.limit(40)
        self.router.releases["webapp v1"] = 1
        self.retire()
        self.cluster.pass_time(39)
        self.assertEqual(self.goals(), [Goal.RUN])
        self.cluster.pass_time(2)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])

    def test_the_limit_starts_anew_with_the_hub(self) -> None:
        self.router.releases["webapp v1"] = 1
        self.retire()
        self.cluster.pass_time(20)
        self.cluster.restart()
        self.router.enter()
        self.drone.join()
        self.assertEqual(self.router.retiring, {"webapp v1"})
        self.cluster.pass_time(25)
        self.assertEqual(self.goals(), [Goal.RUN])
        self.cluster.pass_time(5.5)
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])

    def test_a_hub_that_was_started_waits_for_drones_to_return(self) -> None:
        self.router.releases["webapp v1"] = 1
        self.retire()
        self.router.releases.clear()
        self.cluster.restart()
        self.router.enter()
        self.assertEqual((self.cluster.releases(), self.router.retiring), ({"v1": "retiring"}, {"webapp v1"}))
        self.cluster.pass_time(8)
        self.assertEqual(self.cluster.releases(), {"v1": "retiring"})
        self.cluster.pass_time(3)
        self.assertEqual(self.cluster.releases(), {"v1": "retired"})

    def test_nothing_of_it_starts_any_more(self) -> None:
        self.router.releases["webapp v1"] = 1
        self.retire()
        self.assertEqual(self.cluster.drone("d2", command=()).lines, {})

    def test_an_instance_alone_still_may_be_stopped(self) -> None:
        self.ask(Stop, ids=[self.http])
        self.router.releases["webapp v1"] = 1
        self.retire()
        self.cluster.pass_time(2)
        self.assertEqual((self.goals(), self.goals("say")), ([Goal.RUN, Goal.DRAIN, Goal.STOP], [Goal.RUN]))

    def test_deployed_again_meanwhile_it_drains_before_it_starts_from_nothing(self) -> None:
        self.router.releases["webapp v1"] = 1
        self.retire()
        self.cluster.deploy()
        self.assertEqual(self.goals(), [Goal.RUN, Goal.DRAIN])
        self.assertEqual(self.router.retiring, set())
        self.cluster.pass_time(1.1)
        self.assertEqual(
            (self.goals(), self.cluster.releases()), ([Goal.RUN, Goal.DRAIN, Goal.RUN], {"v1": "deployed"})
        )

    def test_roles_beside_each_other_end_together(self) -> None:
        self.router.busy[self.http] = 1
        self.ask(Stop, ids=[self.http, self.say])
        self.cluster.pass_time(5)
        self.assertEqual(self.goals("say"), [Goal.RUN, Goal.DRAIN])
        self.router.busy.clear()
        self.router.stand()
        self.assertEqual((self.goals()[-1], self.goals("say")[-1]), (Goal.STOP, Goal.STOP))


class RefusalTests(StopCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster.push(files=PROCFILE)
        self.cluster.deploy()

    def test_what_a_route_sends_requests_to_is_not_retired(self) -> None:
        self.cluster.route("v1", "v2=0")
        with self.assertRaisesRegex(Refused, "shop.example sends requests to v1; .*route set"):
            self.retire()
        self.ask(Retire, app="webapp", commit="v2")
        self.assertEqual(self.cluster.releases()["v1"], "deployed")

    def test_what_is_pinned_is_not_retired(self) -> None:
        self.ask(Pin, app="webapp", commit="v1", pinned=True)
        with self.assertRaisesRegex(Refused, "v1 is pinned; .*deployctl unpin webapp v1"):
            self.retire()
        self.ask(Pin, app="webapp", commit="v1", pinned=False)
        self.retire()
        self.assertEqual(self.cluster.releases()["v1"], "retiring")

    def test_a_route_and_a_retirement_at_once_do_not_cross(self) -> None:
        first = self.cluster.person.peer.ask(Retire, {"app": "webapp", "commit": "v1"}, 10)
        arguments = {"host": "shop.example", "path": "/", "app": "webapp", "role": "http"}
        more = {"shares": [["v1", 1]], "preview": False, "sticky": False, "https": False, "force": False}
        second = self.cluster.person.peer.ask(SetRoute, arguments | more, 10)
        self.cluster.settle()
        self.successResultOf(first)
        self.failureResultOf(second)
        self.assertFalse(self.cluster.hub.ledger.desired.routes)


class UnusedTests(StopCase):
    def setUp(self) -> None:
        super().setUp()
        self.router.depart()
        for _ in range(3):
            self.cluster.push(files=PROCFILE)
            self.cluster.deploy()

    def unused(self, app: str = "webapp", dry_run: bool = False) -> dict[str, bool]:
        answer = self.ask(RetireUnused, app=app, dry_run=dry_run, after="")
        self.assertEqual(answer["next"], "")
        self.assertTrue(all(row["reason"] and len(row["commit"]) == 40 for row in answer["rows"]))
        return {row["release"]: row["goes"] for row in answer["rows"]}

    def test_retires_what_nobody_uses(self) -> None:
        self.cluster.route("v2")
        goes = {"v1": True, "v2": False, "v3": True, "v4": False}
        self.assertEqual(self.unused(dry_run=True), goes)
        self.assertEqual(set(self.cluster.releases().values()), {"deployed"})
        self.assertEqual(self.unused(), goes)
        after = {"v1": "retired", "v2": "deployed", "v3": "retired", "v4": "deployed"}
        self.assertEqual(self.cluster.releases(), after)
        saves = self.cluster.store.saves
        self.assertEqual(self.unused(""), {"v2": False, "v4": False})
        self.assertEqual(self.cluster.store.saves, saves)
        self.assertEqual(self.cluster.events().count("retire"), 2)

    def test_keeps_as_many_good_ones_as_the_app_says(self) -> None:
        self.ask(SetPolicy, app="webapp", values={"keep": "3"})
        self.assertEqual(self.unused(), {"v1": True, "v2": False, "v3": False, "v4": False})

    def test_goes_in_pages(self) -> None:
        (v1, *_) = self.cluster.hub.ledger.desired.releases.values()
        many = tuple(evolve(v1, app=f"app{n}", created=1.0) for n in range(500))
        done(
            Deferred.fromCoroutine(self.cluster.hub.ledger.change(lambda _: Changes(releases=many))),
            self.cluster.settle,
        )
        rows, after, pages = [], "", 0
        while pages == 0 or after:
            answer = self.ask(RetireUnused, app="", dry_run=False, after=after)
            rows, after, pages = rows + answer["rows"], answer["next"], pages + 1
        self.assertGreater(pages, 1)
        self.assertEqual(len(rows), 504)
        self.assertEqual(sum(row["goes"] for row in rows), 3)
        self.assertEqual([n for n, state in self.cluster.releases("webapp").items() if state == "deployed"], ["v4"])
