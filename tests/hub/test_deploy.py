"""deploy: the words of the reference, one by one."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused, UnknownApp, UnknownCommit, UnknownDrone, UsageError
from deployd.model.desired import Changes
from deployd.model.instance import Goal, State
from deployd.planning.view import HOPELESS_FAILURES
from deployd.wire.control import Deploy, ForgetDrone, Restart, Stop
from tests.hub.rig import Cluster

HOPELESS = {
    "state": State.BACKOFF,
    "failures": HOPELESS_FAILURES,
    "reason": "exited at once with code 3",
    "tail": "I give up\n",
}
STUCK = {"state": State.STARTING}


class DeployTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push()

    def test_is_done_when_every_drone_is_ready(self) -> None:
        drone, slow = self.cluster.drone("d1"), self.cluster.drone("d2")
        slow.trouble["http"] = STUCK
        answer = self.cluster.deploy()
        self.assertEqual(answer, {"commit": self.commit, "release": "v1", "changed": True})
        self.assertEqual(self.cluster.states(), ("deploying", {"d1": "ready", "d2": "pending"}))
        slow.change("http", state=State.READY)
        self.assertEqual(self.cluster.states(), ("deployed", {"d1": "ready", "d2": "ready"}))
        self.assertEqual(drone.lines, {"http.v1": Goal.RUN})
        (line,) = drone.told[-1].values()
        self.assertEqual((line.argv, line.port, line.commit), (("serve",), True, self.commit))
        self.assertEqual(self.cluster.events()[-2:], ["deploy", "deployed"])

    def test_keeps_the_commit_before_the_release_is_saved(self) -> None:
        self.cluster.drone()
        self.cluster.repositories.full = True
        with self.assertRaises(Refused):
            self.cluster.deploy()
        self.assertEqual(self.cluster.releases(), {})
        self.cluster.repositories.full = False
        self.cluster.deploy()
        self.assertEqual(self.cluster.repositories.kept("webapp"), {self.commit})

    def test_a_second_commit_is_a_second_release_beside_the_first(self) -> None:
        drone = self.cluster.drone()
        self.cluster.deploy()
        second = self.cluster.push()
        self.assertEqual(self.cluster.deploy()["release"], "v2")
        self.assertEqual(drone.lines, {"http.v1": Goal.RUN, "http.v2": Goal.RUN})
        self.assertNotEqual(second, self.commit)
        self.assertEqual(self.cluster.releases(), {"v1": "deployed", "v2": "deployed"})

    def test_what_is_deployed_and_healthy_is_a_no_op(self) -> None:
        drone = self.cluster.drone()
        self.cluster.deploy()
        told, saves = len(drone.told), self.cluster.store.saves
        for commit in ("master", self.commit, self.commit[:7], "v1", "HEAD"):
            answer = self.cluster.deploy(commit)
            self.assertEqual(answer, {"commit": self.commit, "release": "v1", "changed": False})
        self.assertEqual((len(drone.told), self.cluster.store.saves), (told, saves))

    def test_unknown_things_are_named(self) -> None:
        self.cluster.drone()
        other = self.cluster.push("other")
        with self.assertRaisesRegex(UnknownApp, "nosuch"):
            self.cluster.deploy(app="nosuch")
        for commit in ("0" * 40, "nosuch", "v9", other):
            with self.assertRaises(UnknownCommit):
                self.cluster.deploy(commit)
        with self.assertRaisesRegex(UnknownDrone, "d9"):
            self.cluster.deploy(drones=["d1", "d9"])
        for wrong in ({"app": "../../x"}, {"need": "some"}, {"need": "0"}, {"where": ["x"]}, {"drones": ["a b"]}):
            with self.assertRaises(UsageError):
                self.cluster.deploy(**wrong)
        for wrong in ({"drones": "d1"}, {"where": [1]}, {"timeout": -1.0}, {"timeout": float("nan")}, {"commit": ""}):
            with self.assertRaises(UsageError):
                self.cluster.deploy(**wrong)
        self.assertEqual(self.cluster.releases(), {})

    def test_no_drone_is_refused(self) -> None:
        with self.assertRaisesRegex(Refused, "no drone"):
            self.cluster.deploy()
        self.cluster.drone("d1", labels={"region": "eu"})
        with self.assertRaisesRegex(Refused, "no drone"):
            self.cluster.deploy(where=["region=us"])
        self.assertEqual(self.cluster.releases(), {})
        self.assertEqual(self.cluster.repositories.kept("webapp"), set())

    def test_a_full_disk_refuses_and_changes_nothing(self) -> None:
        drone = self.cluster.drone()
        self.cluster.store.full = True
        with self.assertRaisesRegex(Refused, "disk is full"):
            self.cluster.deploy()
        self.assertEqual((self.cluster.releases(), drone.lines), ({}, {}))
        self.cluster.store.full = False
        self.assertEqual(self.cluster.deploy()["release"], "v1")
        self.assertEqual(self.cluster.states()[0], "deployed")

    def test_two_deploys_at_once_both_end_right(self) -> None:
        drone = self.cluster.drone()
        drone.trouble["http"] = STUCK
        self.cluster.deploy()
        self.assertTrue(self.cluster.deploy()["changed"])
        second = self.cluster.push()
        self.assertEqual(self.cluster.deploy(second)["release"], "v2")
        drone.change("http", state=State.READY)
        self.assertEqual(self.cluster.releases(), {"v1": "deployed", "v2": "deployed"})


class NeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push()
        self.drones = [self.cluster.drone(f"d{number}") for number in (1, 2, 3, 4)]

    def deploy_with(self, need: str, good: int) -> str:
        for drone in self.drones[good:]:
            drone.trouble["http"] = HOPELESS
        self.cluster.deploy(need=need)
        return self.cluster.states()[0]

    def test_a_number_is_met_by_as_many(self) -> None:
        self.assertEqual(self.deploy_with("2", 2), "deployed")

    def test_a_share_is_rounded_up(self) -> None:
        self.assertEqual(self.deploy_with("51%", 3), "deployed")

    def test_a_share_that_cannot_be_reached_fails_at_once(self) -> None:
        self.assertEqual(self.deploy_with("51%", 2), "failed")

    def test_all_needs_all(self) -> None:
        self.assertEqual(self.deploy_with("all", 3), "failed")

    def test_more_than_there_are_is_refused(self) -> None:
        with self.assertRaisesRegex(Refused, "only 4"):
            self.cluster.deploy(need="5")

    def test_met_the_rest_go_on_trying(self) -> None:
        self.assertEqual(self.deploy_with("1", 1), "deployed")
        self.assertEqual([drone.lines for drone in self.drones], [{"http.v1": Goal.RUN}] * 4)

    def test_of_two_deploys_at_once_the_stricter_need_counts(self) -> None:
        for drone in self.drones:
            drone.trouble["http"] = STUCK
        self.cluster.deploy(need="all")
        self.cluster.deploy(need="1")
        self.drones[0].change("http", state=State.READY)
        self.assertEqual(self.cluster.states()[0], "deploying")

    def test_an_away_drone_counts_and_is_reported(self) -> None:
        self.drones[3].leave()
        self.cluster.deploy(timeout=20.0)
        expected = {"d1": "ready", "d2": "ready", "d3": "ready", "d4": "away"}
        self.assertEqual(self.cluster.states(), ("deploying", expected))
        self.cluster.pass_time(21)
        self.assertEqual(self.cluster.states(), ("failed", expected))
        self.assertIn("1 away", self.cluster.status()["reason"])

    def test_an_away_drone_that_returns_in_time_meets_it(self) -> None:
        self.drones[3].leave()
        self.cluster.deploy(timeout=20.0)
        self.cluster.pass_time(10)
        self.drones[3].join()
        self.assertEqual(self.cluster.states()[0], "deployed")

    def test_forgetting_a_drone_that_is_away_meets_all(self) -> None:
        self.drones[3].leave()
        self.cluster.deploy(timeout=20.0)
        self.cluster.person.ask(ForgetDrone, name="d4")
        self.assertEqual(self.cluster.states(), ("deployed", {"d1": "ready", "d2": "ready", "d3": "ready"}))


class FailureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push()
        self.drone = self.cluster.drone("d1")

    def fail(self) -> None:
        self.drone.trouble["http"] = HOPELESS
        self.cluster.deploy()
        self.drone.trouble.clear()

    def test_too_many_failures_fail_at_once_with_the_reason_and_the_output(self) -> None:
        self.fail()
        status = self.cluster.status()
        self.assertEqual(status["state"], "failed")
        row = {"drone": "d1", "state": "failed", "reason": HOPELESS["reason"], "tail": HOPELESS["tail"]}
        self.assertEqual(status["drones"], [row])

    def test_fewer_failures_do_not(self) -> None:
        self.drone.trouble["http"] = HOPELESS | {"failures": HOPELESS_FAILURES - 1}
        self.cluster.deploy()
        self.assertEqual(self.cluster.states()[0], "deploying")

    def test_a_fatal_failure_fails_at_once(self) -> None:
        self.drone.trouble["http"] = {"state": State.BACKOFF, "failures": 1, "fatal": True, "reason": "no such command"}
        self.cluster.deploy()
        self.assertEqual(self.cluster.status()["drones"][0]["reason"], "no such command")

    def test_not_in_time_fails_and_stops_what_started(self) -> None:
        stuck = self.cluster.drone("d2")
        stuck.trouble["http"] = STUCK
        self.cluster.deploy(timeout=30.0)
        self.cluster.pass_time(25)
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.cluster.pass_time(10)
        self.assertEqual(self.cluster.states(), ("failed", {"d1": "ready", "d2": "pending"}))
        self.assertIn("after 30 s", self.cluster.status()["reason"])
        self.assertIn("does not listen", self.cluster.status()["drones"][1]["reason"])
        goals = [line.goal for told in self.drone.told for line in told.values()]
        self.assertEqual(goals, [Goal.RUN, Goal.DRAIN, Goal.STOP])
        self.assertEqual((self.drone.lines, stuck.lines, self.cluster.rows("instances")), ({}, {}, []))

    def test_earlier_releases_are_untouched(self) -> None:
        self.cluster.deploy()
        self.cluster.push()
        self.fail()
        self.assertEqual(self.cluster.releases(), {"v1": "deployed", "v2": "failed"})
        self.assertEqual(self.drone.lines, {"http.v1": Goal.RUN})

    def test_a_late_joiner_gets_what_is_deployed_and_not_what_failed(self) -> None:
        self.cluster.deploy()
        self.cluster.push()
        self.fail()
        self.assertEqual(self.cluster.drone("late").lines, {"http.v1": Goal.RUN})

    def test_deploying_again_retries_from_nothing(self) -> None:
        self.fail()
        answer = self.cluster.deploy()
        self.assertEqual(answer, {"commit": self.commit, "release": "v1", "changed": True})
        self.assertEqual(self.cluster.states()[0], "deployed")
        (line,) = self.drone.told[-1].values()
        self.assertEqual(line.generation, 1)

    def test_the_failures_of_the_last_attempt_do_not_fail_the_next(self) -> None:
        """The drone has not ended the old attempt, and repeats what it said of it."""
        self.drone.trouble["http"] = HOPELESS
        self.drone.follows = False
        self.cluster.deploy()
        (line,) = self.drone.told[-1].values()
        old = evolve(self.drone._observed(line), failures=HOPELESS_FAILURES)
        self.drone.report(old)
        self.assertEqual(self.cluster.states()[0], "failed")
        self.drone.refuses = Refused("the disk is full")
        self.cluster.deploy()
        self.drone.report(old)
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.flushLoggedErrors()

    def test_a_retry_chooses_drones_anew(self) -> None:
        self.cluster.drone("d2").trouble["http"] = HOPELESS
        self.cluster.deploy()
        self.cluster.deploy(drones=["d1"])
        self.assertEqual(self.cluster.states(), ("deployed", {"d1": "ready"}))

    def test_a_deploy_that_is_saved_while_an_earlier_ones_time_ends_has_its_own(self) -> None:
        self.drone.trouble["http"] = STUCK
        self.cluster.deploy(timeout=20.0)
        store, held = self.cluster.store, []

        def save(changes: Changes, epoch: str = "") -> Deferred[int]:
            held.append((changes, epoch, Deferred()))
            return held[-1][2]

        self.cluster.pass_time(19)
        store.save = save  # type: ignore[method-assign]
        asked = {"app": "webapp", "commit": "master", "drones": [], "where": [], "need": "1", "timeout": 20.0}
        self.cluster.person.peer.ask(Deploy, asked, 60)
        self.cluster.settle()
        self.cluster.pass_time(2)
        del store.save
        ((changes, epoch, saved),) = held
        store.save(changes, epoch).chainDeferred(saved)
        self.cluster.settle()
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.cluster.pass_time(20)
        self.assertEqual(self.cluster.states()[0], "failed")

    def test_a_verdict_that_cannot_be_saved_is_saved_later(self) -> None:
        self.drone.trouble["http"] = STUCK
        self.cluster.deploy()
        self.cluster.store.full = True
        self.drone.change("http", state=State.READY)
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.cluster.store.full = False
        self.cluster.pass_time(6)
        self.assertEqual(self.cluster.states()[0], "deployed")


class ChoiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push()

    def test_drone_and_where_add_up_and_hold_for_later_joiners(self) -> None:
        one, two, eu = self.cluster.drone("d1"), self.cluster.drone("d2"), self.cluster.drone("d3", labels={"r": "eu"})
        self.cluster.deploy(drones=["d1"])
        self.assertEqual((one.lines, two.lines, eu.lines), ({"http.v1": Goal.RUN}, {}, {}))
        self.assertTrue(self.cluster.deploy(where=["r=eu"])["changed"])
        self.assertEqual(self.cluster.states(), ("deployed", {"d3": "ready"}))
        self.assertEqual(two.lines, {})
        self.assertEqual(self.cluster.drone("d4", labels={"r": "eu", "x": "y"}).lines, {"http.v1": Goal.RUN})
        self.assertEqual(self.cluster.drone("d5").lines, {})
        self.assertFalse(self.cluster.deploy(drones=["d3"])["changed"])

    def test_where_asks_for_all_its_labels(self) -> None:
        self.cluster.drone("d1", labels={"r": "eu"})
        self.cluster.drone("d2", labels={"r": "eu", "k": "web"})
        self.cluster.deploy(where=["r=eu", "k=web"])
        self.assertEqual(self.cluster.states()[1], {"d2": "ready"})

    def test_a_wider_deploy_that_fails_leaves_what_ran(self) -> None:
        one, two = self.cluster.drone("d1"), self.cluster.drone("d2")
        self.cluster.deploy(drones=["d1"])
        two.trouble["http"] = HOPELESS
        self.cluster.deploy(drones=["d2"])
        self.assertEqual(self.cluster.states(), ("failed", {"d2": "failed"}))
        self.assertEqual(self.cluster.releases(), {"v1": "deployed"})
        self.assertEqual((one.lines, two.lines), ({"http.v1": Goal.RUN}, {}))
        self.assertFalse(self.cluster.deploy(drones=["d1"])["changed"])
        self.assertEqual(self.cluster.states()[0], "deployed")

    def test_a_wider_deploy_is_judged_by_the_drones_it_asks_for(self) -> None:
        """An earlier need excused d3, which fails; that is no fault of d2's."""
        self.cluster.drone("d1")
        self.cluster.drone("d3").trouble["http"] = HOPELESS
        self.cluster.deploy(need="1")
        two = self.cluster.drone("d2")
        self.cluster.deploy(drones=["d2"], need="all")
        self.assertEqual(self.cluster.states(), ("deployed", {"d2": "ready"}))
        self.assertEqual(two.lines, {"http.v1": Goal.RUN})

    def test_deploying_again_starts_what_waits_for_its_next_try(self) -> None:
        drone = self.cluster.drone()
        self.cluster.deploy()
        drone.change("http", state=State.BACKOFF, failures=9, reason="exited with code 1")
        self.assertTrue(self.cluster.deploy()["changed"])
        self.assertEqual(self.cluster.states()[0], "deployed")
        (line,) = drone.told[-1].values()
        self.assertEqual(line.generation, 1)


class ProcfileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()

    def test_a_release_that_is_not_there_is_called_a_release(self) -> None:
        self.cluster.push()
        self.cluster.drone("d1")
        with self.assertRaisesRegex(UnknownCommit, "no release v9"):
            self.cluster.deploy("v9")

    def test_a_byte_order_mark_is_no_part_of_the_first_role(self) -> None:
        self.cluster.push(files={"Procfile": b"\xef\xbb\xbfhttp: ./serve\n"})
        drone = self.cluster.drone("d1", command=())
        self.cluster.deploy()
        self.assertEqual(sorted(drone.lines), ["http.v1"])

    def test_a_drone_without_command_runs_its_roles(self) -> None:
        self.cluster.push(files={"Procfile": b"http: ./serve\nsay: ./say\nworker: ./work\n"})
        every = self.cluster.drone("all", command=())
        some = self.cluster.drone("some", command=(), roles=("say", "worker"))
        none = self.cluster.drone("none", command=(), roles=("clock",))
        own = self.cluster.drone("own", role="web")
        elsewhere = self.cluster.drone("elsewhere", apps=("other",))
        self.cluster.deploy()
        self.assertEqual(sorted(every.lines), ["http.v1", "say.v1", "worker.v1"])
        self.assertEqual(sorted(some.lines), ["say.v1", "worker.v1"])
        self.assertEqual({line.role: line.port for line in some.told[-1].values()}, {"say": True, "worker": False})
        self.assertEqual((none.lines, elsewhere.lines, own.lines), ({}, {}, {"web.v1": Goal.RUN}))
        states = {"all": "ready", "elsewhere": "nothing", "none": "nothing", "own": "ready", "some": "ready"}
        self.assertEqual(self.cluster.states(), ("deployed", states))

    def test_neither_procfile_nor_command_fails_there(self) -> None:
        self.cluster.push()
        self.cluster.drone("d1")
        self.cluster.drone("d2", command=())
        self.cluster.deploy()
        state, drones = self.cluster.states()
        self.assertEqual((state, drones["d2"]), ("failed", "failed"))
        self.assertIn("neither Procfile nor command", self.cluster.status()["drones"][1]["reason"])

    def test_a_procfile_of_no_use_is_refused_where_it_is_needed(self) -> None:
        for content, sentence in (
            (b"nonsense", "line 1"),
            (b"\xff\xfe", "UTF-8"),
            (b"http: x\n" * 20_000, "limit"),
            (b"http: " + b"x" * 20_000, "longer"),
            (b"http: x\0y", "NUL"),
        ):
            self.cluster.push(files={"Procfile": content})
            if not self.cluster.drones:
                self.cluster.drone("own")
                self.cluster.drone("all", command=())
            with self.assertRaisesRegex(Refused, sentence):
                self.cluster.deploy()
            self.cluster.deploy(drones=["own"])


class RestartOfTheHubTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push()
        self.drone = self.cluster.drone()

    def test_everything_is_as_it_was(self) -> None:
        self.cluster.deploy()
        before = self.cluster.rows("releases"), self.cluster.rows("drones")[0]["name"], self.cluster.hub.ledger.epoch
        self.cluster.restart()
        after = self.cluster.rows("releases"), self.cluster.rows("drones")[0]["name"], self.cluster.hub.ledger.epoch
        self.assertEqual(before, after)
        self.assertEqual([row["state"] for row in self.cluster.rows("instances")], ["waiting"])
        self.cluster.pass_time(11)
        self.assertEqual([row["state"] for row in self.cluster.rows("instances")], ["away"])
        number = self.drone.revision.number
        self.drone.join()
        self.assertEqual(self.drone.lines, {"http.v1": Goal.RUN})
        self.assertGreater(self.drone.revision.number, number)
        self.assertEqual([row["state"] for row in self.cluster.rows("instances")], ["ready"])

    def test_a_deploy_goes_on_with_all_of_its_time(self) -> None:
        self.drone.trouble["http"] = STUCK
        self.cluster.deploy(timeout=30.0)
        self.cluster.pass_time(20)
        self.cluster.restart()
        self.drone.join()
        self.cluster.pass_time(20)
        self.assertEqual(self.cluster.states()[0], "deploying")
        self.cluster.pass_time(15)
        self.assertEqual(self.cluster.states()[0], "failed")

    def test_a_new_hub_stops_nothing_and_lists_what_it_does_not_know(self) -> None:
        self.cluster.deploy()
        stranger = Cluster()
        self.drone.cluster = stranger
        self.drone.join()
        self.assertEqual(self.drone.lines, {})
        (row,) = stranger.rows("instances")
        self.assertEqual((row["state"], row["app"], row["release"]), ("orphan", "webapp", "v1"))
        told = len(self.drone.told)
        self.drone.report()
        self.assertEqual(len(self.drone.told), told)
        with self.assertRaises(Refused):
            stranger.person.ask(Restart, ids=[row["id"]])
        stranger.person.ask(Stop, ids=[row["id"]])
        self.assertEqual(self.drone.lines, {})
        goals = [line.goal for later in self.drone.told[told:] for line in later.values()]
        self.assertEqual(goals, [Goal.DRAIN, Goal.STOP])
        self.assertEqual((stranger.rows("instances"), stranger.hub.ledger.desired.orders), ([], {}))

    def test_an_order_to_stop_an_orphan_does_not_stop_a_later_release(self) -> None:
        """The order waits for a drone that is away; the release that comes meanwhile has the orphan's id."""
        self.cluster.deploy()
        stranger = Cluster()
        stranger.push()
        stranger.drone("d2", apps=("other",)).leave()
        self.drone.cluster = stranger
        self.drone.join()
        stranger.person.ask(Stop, ids=[row["id"] for row in stranger.rows("instances")])
        self.assertEqual(len(stranger.hub.ledger.desired.orders), 1)
        stranger.deploy(need="1")
        self.assertEqual((stranger.states()[0], self.drone.lines), ("deployed", {"http.v1": Goal.RUN}))
