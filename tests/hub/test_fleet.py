"""Drones that join, report, leave and return."""

from __future__ import annotations

from copy import copy

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import (
    DeploydError,
    Malformed,
    NameInUse,
    PermissionRefused,
    Refused,
    UnknownApp,
    UnknownDrone,
    UsageError,
)
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.hub.drone_session import RETRY
from deployd.hub.fleet import Fleet
from deployd.hub.pushes import MAX_PREFETCHED
from deployd.model.instance import Goal, ObservedInstance, State
from deployd.model.revision import Revision
from deployd.model.words import MAX_COMMAND
from deployd.net.secret import drone_credential
from deployd.wire.control import ForgetDrone, Stop
from deployd.wire.fleet import FetchToken, Join, Report
from tests.hub.rig import Cluster, FakeDrone, done
from tests.net.links import SECRET

STATES = {"v1": "ready", "v2": "orphan"}


class JoinTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()

    def test_tells_the_drone_what_it_needs(self) -> None:
        drone = self.cluster.drone()
        self.assertEqual(
            drone.joined,
            {
                "epoch": self.cluster.hub.ledger.epoch,
                "registry": "192.0.2.1:6000",
                "git": "http://192.0.2.1:6002",
                "host": "127.0.0.1",
                "credential": drone_credential(SECRET, drone.identity.owner),
            },
        )
        (row,) = self.cluster.rows("drones")
        self.assertEqual(row, {"name": "d1", "state": "connected", "labels": {}, "address": "127.0.0.1", "limits": ""})

    def test_a_drone_may_advertise_another_host(self) -> None:
        drone = self.cluster.drone(joins=False)
        drone.join(advertise="app.example.org")
        self.assertEqual(drone.joined["host"], "app.example.org")
        drone.leave()
        with self.assertRaises(UsageError):
            drone.join(advertise="not a host")

    def test_the_name_of_another_is_refused_also_while_that_one_is_away(self) -> None:
        first = self.cluster.drone("d1")
        first.leave()
        with self.assertRaisesRegex(NameInUse, "d1"):
            self.cluster.drone("d1")
        first.join()
        self.assertEqual(self.cluster.rows("drones")[0]["state"], "connected")

    def test_a_newer_session_of_the_same_owner_replaces_the_older(self) -> None:
        drone = self.cluster.drone()
        old = drone.peer
        drone.join()
        self.assertTrue(old.is_closed)
        self.assertEqual(self.cluster.rows("drones")[0]["state"], "connected")

    def test_a_drone_under_a_new_name_is_no_second_one(self) -> None:
        drone = self.cluster.drone("old")
        drone.leave()
        drone.description = evolve(drone.description, name="new")
        drone.join()
        self.assertEqual([row["name"] for row in self.cluster.rows("drones")], ["new"])

    def test_an_owner_has_to_be_proved(self) -> None:
        victim = self.cluster.drone("d1")
        thief = self.cluster.drone("d2", joins=False)
        thief.description = evolve(thief.description, owner=victim.identity.owner)
        with self.assertRaises(PermissionRefused):
            thief.join()
        thief.description = evolve(thief.description, owner="")
        with self.assertRaises(PermissionRefused):
            thief.join()
        peer = self.cluster.connect("drone")
        with self.assertRaises(PermissionRefused):
            done(peer.ask(Join, {"description": thief.description, "advertise": ""}, 10), self.cluster.settle)

    def test_bad_descriptions_are_refused(self) -> None:
        for wrong in (
            {"name": "../x"},
            {"role": "a b"},
            {"role": "release"},
            {"labels": {"a b": "c"}},
            {"labels": {str(number): "x" for number in range(101)}},
            {"roles": ("x/y",)},
            {"apps": ("../x",)},
            {"command": ("x" * (MAX_COMMAND + 1),)},
            {"command": ("a\0b",)},
            {"command": ("serve", "caf\udce9")},
        ):
            drone = self.cluster.drone(joins=False)
            drone.description = evolve(drone.description, **wrong)
            with self.assertRaises(UsageError):
                drone.join()
        self.assertEqual(self.cluster.rows("drones"), [])

    def test_nothing_else_is_answered_before_it_and_it_comes_once(self) -> None:
        drone = self.cluster.drone(joins=False)
        drone.peer = self.cluster.connect("drone", drone.identity)
        for command, arguments in (
            (FetchToken, {"app": "webapp"}),
            (Report, {"assignment": drone.revision, "part": 0, "parts": 1, "instances": ()}),
        ):
            with self.assertRaises(PermissionRefused):
                drone.ask(command, **arguments)
        drone.ask(Join, description=drone.description, advertise="")
        with self.assertRaises(PermissionRefused):
            drone.ask(Join, description=drone.description, advertise="")

    def test_is_saved_before_it_is_answered(self) -> None:
        self.cluster.store.full = True
        with self.assertRaises(Refused):
            self.cluster.drone()
        self.assertEqual(self.cluster.rows("drones"), [])

    def test_an_unchanged_drone_is_not_saved_again(self) -> None:
        drone = self.cluster.drone()
        saves = self.cluster.store.saves
        drone.join()
        self.assertEqual(self.cluster.store.saves, saves)


class AssignmentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push()

    def test_waits_for_the_first_report(self) -> None:
        self.cluster.drone().leave()
        drone = self.cluster.drones[0]
        self.cluster.deploy(timeout=50.0)
        drone.join(reports=False)
        self.assertEqual(drone.lines, {})
        drone.report()
        self.assertEqual(drone.lines, {"http.v1": Goal.RUN})

    def test_is_sent_again_until_the_drone_has_saved_it(self) -> None:
        drone = self.cluster.drone()
        drone.refuses = Refused("the disk is full")
        self.cluster.deploy()
        self.assertEqual(self.cluster.states(), ("deploying", {"d1": "pending"}))
        (row,) = self.cluster.status()["drones"]
        self.assertEqual(row["reason"], "the disk is full")
        drone.refuses = None
        self.cluster.pass_time(RETRY + 1)
        self.assertEqual(self.cluster.states()[0], "deployed")

    def test_of_many_that_come_while_one_is_refused_the_newest_is_sent(self) -> None:
        drone = self.cluster.drone()
        drone.refuses = Refused("the disk is full")
        for _ in range(5):
            self.cluster.push()
            self.cluster.deploy()
        told = len(drone.told)
        drone.refuses = None
        self.cluster.pass_time(RETRY + 1)
        self.assertEqual(len(drone.told), told + 1)
        self.assertEqual(len(drone.lines), 5)

    def test_longer_than_one_message_comes_in_parts(self) -> None:
        roles = "".join(f"r{number}: {'x' * 3000}\n" for number in range(20))
        self.cluster.push(files={"Procfile": roles.encode()})
        drone = self.cluster.drone(command=())
        self.cluster.deploy()
        self.assertEqual(self.cluster.states()[0], "deployed")
        self.assertEqual(len(drone.lines), 20)
        self.assertEqual(len(drone.told), 2)

    def test_a_lost_connection_ends_sending_quietly(self) -> None:
        drone = self.cluster.drone()
        drone.refuses = Refused("the disk is full")
        self.cluster.deploy()
        drone.leave()
        self.cluster.pass_time(RETRY * 3)
        self.assertEqual(self.cluster.states()[1], {"d1": "away"})

    def test_a_drone_that_became_another_gets_what_it_is_now(self) -> None:
        drone = self.cluster.drone(labels={"r": "eu"})
        self.cluster.deploy(where=["r=eu"])
        drone.leave()
        drone.description = evolve(drone.description, labels={})
        drone.join()
        goals = [line.goal for told in drone.told for line in told.values()]
        self.assertEqual((goals, drone.lines), ([Goal.RUN, Goal.DRAIN, Goal.STOP], {}))


class ReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push()
        self.drone = self.cluster.drone()
        self.cluster.deploy()

    def test_parts_out_of_order_are_refused_and_the_session_lives(self) -> None:
        for part, parts in ((1, 2), (0, 0), (5, 3)):
            with self.assertRaises(Malformed):
                self.drone.ask(Report, assignment=self.drone.revision, part=part, parts=parts, instances=())
        self.drone.report()
        self.assertEqual(self.cluster.rows("instances")[0]["state"], "ready")

    def test_endless_parts_are_refused(self) -> None:
        one = ObservedInstance("x", "webapp", "v1", "c" * 40, "http", State.READY)
        many = tuple(evolve(one, id=str(number)) for number in range(250))
        with self.assertRaises(Malformed):
            for part in range(100):
                self.drone.ask(Report, assignment=self.drone.revision, part=part, parts=200, instances=many)

    def test_half_a_report_changes_nothing(self) -> None:
        self.drone.ask(Report, assignment=self.drone.revision, part=0, parts=2, instances=())
        self.assertEqual(self.cluster.rows("instances")[0]["state"], "ready")
        self.drone.report()
        self.assertEqual(self.cluster.rows("instances")[0]["state"], "ready")


class RestoreTests(SynchronousTestCase):
    """The hub's state was put back from a backup: two drones run v2, of which it knows nothing."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.drones = [self.cluster.drone("d1"), self.cluster.drone("d2")]
        self.cluster.push()
        self.cluster.deploy()
        self.backup = copy(self.cluster.store)
        self.cluster.push()
        self.cluster.deploy()
        self.epoch = self.cluster.hub.ledger.epoch
        self.told = [len(drone.told) for drone in self.drones]

    def instances(self) -> dict[str, str]:
        rows = self.cluster.rows("instances")
        return {f"{row['drone']}.{row['release']}": row["state"] for row in rows}

    def rejoin(self, drone: FakeDrone) -> None:
        """As a drone does: on an error it joins again."""
        try:
            drone.join()
        except DeploydError:
            drone.join()

    def check_nothing_was_told(self) -> None:
        """A drone of the lost state takes numbers of its epoch for old ones, or obeys: it must not get any."""
        self.assertEqual([len(drone.told) for drone in self.drones], self.told)

    def check_all_is_well(self) -> None:
        states = {f"{name}.{release}": state for name in ("d1", "d2") for release, state in STATES.items()}
        self.assertEqual(self.instances(), states)
        self.assertNotEqual(self.cluster.hub.ledger.epoch, self.epoch)
        self.assertEqual(self.cluster.events().count("hub restored"), 1)
        for drone in self.drones:
            self.assertEqual(drone.lines, {"http.v1": Goal.RUN})

    def test_the_first_report_of_the_lost_state_starts_a_new_epoch_in_which_nothing_is_stopped(self) -> None:
        self.cluster.restore(self.backup)
        for drone in self.drones:
            self.rejoin(drone)
        self.check_all_is_well()

    def test_drones_that_have_joined_already_have_to_join_again(self) -> None:
        first, second = self.drones
        self.cluster.restore(self.backup)
        for drone in self.drones:
            drone.join(reports=False)
        self.cluster.settle()
        self.check_nothing_was_told()
        with self.assertRaises(DeploydError):
            first.report()
        self.assertTrue(first.peer.is_closed and second.peer.is_closed)
        self.check_nothing_was_told()
        for drone in self.drones:
            drone.join()
        self.check_all_is_well()

    def test_a_drone_with_nothing_of_the_lost_state_joins_again_too(self) -> None:
        bystander = self.cluster.drone("d3", apps=("other",))
        bystander.revision, bystander.seen = Revision(self.epoch, 1), {}
        self.cluster.restore(self.backup)
        bystander.join()
        self.assertFalse(bystander.peer.is_closed)
        self.rejoin(self.drones[0])
        self.assertTrue(bystander.peer.is_closed)
        bystander.join()
        self.assertNotEqual(bystander.joined["epoch"], self.epoch)

    def test_a_drone_that_comes_after_many_changes_is_heard_too(self) -> None:
        early, late = self.drones
        self.cluster.restore(self.backup)
        early.revision = Revision(self.epoch, 1)  # it was away when v2 was deployed
        early.seen = {id: one for id, one in early.seen.items() if one.release == "v1"}
        early.join()
        for _ in range(3):
            self.cluster.push()
            self.cluster.deploy(drones=["d1"])
        self.rejoin(late)
        self.assertEqual(self.instances()["d2.v2"], "orphan")
        self.assertEqual(late.lines, {"http.v1": Goal.RUN})

    def test_a_full_disk_delays_it_and_nothing_is_told_before(self) -> None:
        self.cluster.restore(self.backup)
        self.cluster.store.full = True
        for drone in self.drones:
            with self.assertRaises(Refused):
                drone.join()
        self.cluster.settle()
        self.check_nothing_was_told()
        self.cluster.store.full = False
        with self.assertRaises(DeploydError):
            self.drones[0].report()
        for drone in self.drones:
            drone.join()
        self.check_all_is_well()

    def test_a_kill_before_it_is_saved_changes_nothing(self) -> None:
        self.cluster.restore(self.backup)
        self.cluster.store.full = True
        with self.assertRaises(Refused):
            self.drones[0].join()
        self.cluster.store.full = False
        self.cluster.restart()
        for drone in self.drones:
            self.rejoin(drone)
        self.check_all_is_well()

    def test_a_kill_after_it_is_saved_changes_nothing(self) -> None:
        self.cluster.restore(self.backup)
        with self.assertRaises(DeploydError):
            self.drones[0].join()
        self.cluster.restart()
        for drone in self.drones:
            drone.join()
        self.check_all_is_well()

    def test_an_orphan_is_stopped_when_somebody_says_so(self) -> None:
        self.cluster.restore(self.backup)
        for drone in self.drones:
            self.rejoin(drone)
        (orphan,) = [one.id for one in self.drones[0].seen.values() if one.state is State.ORPHAN]
        self.cluster.person.ask(Stop, ids=[orphan])
        self.assertEqual(self.instances(), {"d1.v1": "ready", "d2.v1": "ready", "d2.v2": "orphan"})

    def test_another_commit_runs_beside_the_orphans(self) -> None:
        self.cluster.restore(self.backup)
        for drone in self.drones:
            self.rejoin(drone)
        self.cluster.push()
        self.cluster.deploy()
        for drone in self.drones:
            self.assertEqual(drone.lines, {"http.v1": Goal.RUN, "http.v3": Goal.RUN})
        self.assertEqual(self.instances()["d1.v2"], "orphan")

    def test_deploying_the_lost_commit_takes_its_orphans_in(self) -> None:
        commit = self.cluster.rows("apps")[0]["head"]
        self.cluster.restore(self.backup)
        for drone in self.drones:
            self.rejoin(drone)
        self.cluster.push()
        self.cluster.deploy()
        before = self.drones[0].ids["http.v2"]
        self.cluster.deploy(commit)
        self.assertEqual(self.cluster.releases(), {"v1": "deployed", "v2": "deployed", "v3": "deployed"})
        self.assertNotIn("orphan", self.instances().values())
        self.assertEqual(self.drones[0].ids["http.v2"], before)

    def test_a_plain_restart_keeps_the_epoch(self) -> None:
        for _ in range(3):
            self.cluster.restart()
            for drone in self.drones:
                drone.join()
        self.assertEqual(self.cluster.hub.ledger.epoch, self.epoch)
        self.assertNotIn("orphan", self.instances().values())


class ForgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.drone = self.cluster.drone()

    def forget(self, name: str) -> None:
        self.cluster.person.ask(ForgetDrone, name=name)

    def test_a_drone_that_is_away_is_dropped_and_its_name_is_free(self) -> None:
        self.drone.leave()
        self.forget("d1")
        self.assertEqual(self.cluster.rows("drones"), [])
        self.cluster.drone("d1")
        self.cluster.restart()
        self.assertEqual([row["name"] for row in self.cluster.rows("drones")], ["d1"])

    def test_one_that_is_connected_is_not(self) -> None:
        with self.assertRaisesRegex(Refused, "connected"):
            self.forget("d1")

    def test_one_that_is_not_there_is_unknown(self) -> None:
        with self.assertRaises(UnknownDrone):
            self.forget("d9")


class PushTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()

    def push(self, app: str = "webapp") -> str:
        commit = self.cluster.push(app)
        update = RefUpdate("refs/heads/master", None, commit)
        telling = self.cluster.hub.pushes.pushed(app, Receipt(b"", [update, RefUpdate("refs/tags/x", None, commit)]))
        done(Deferred.fromCoroutine(telling), self.cluster.settle)
        return commit

    def test_prefetches_where_the_app_may_run(self) -> None:
        here, other = self.cluster.drone("d1"), self.cluster.drone("d2", apps=("other",))
        away = self.cluster.drone("d3")
        away.leave()
        commit = self.push()
        self.assertEqual(here.prefetched, [("webapp", "refs/heads/master", commit)])
        self.assertEqual((other.prefetched, away.prefetched), ([], []))
        self.assertEqual(self.cluster.rows("apps"), [{"app": "webapp", "head": commit}])
        self.assertIn("push", self.cluster.events())

    def test_prefetches_only_where_it_was_deployed_once_it_was(self) -> None:
        here, there = self.cluster.drone("d1"), self.cluster.drone("d2")
        self.push()
        self.cluster.deploy(drones=["d1"])
        self.push()
        self.assertEqual((len(here.prefetched), len(there.prefetched)), (2, 1))

    def test_a_push_of_a_whole_history_prefetches_little_of_it(self) -> None:
        here = self.cluster.drone("d1")
        commit = self.cluster.push("webapp")
        updates = [RefUpdate(f"refs/heads/b{number}", None, commit) for number in range(500)]
        telling = self.cluster.hub.pushes.pushed("webapp", Receipt(b"", updates))
        done(Deferred.fromCoroutine(telling), self.cluster.settle)
        self.assertEqual(len(here.prefetched), MAX_PREFETCHED)

    def test_a_push_whose_telling_was_cut_off_is_known_after_a_restart(self) -> None:
        commit = self.cluster.push("team/webapp")
        self.assertEqual(self.cluster.rows("apps"), [])
        self.cluster.restart()
        self.assertEqual(self.cluster.rows("apps"), [{"app": "team/webapp", "head": commit}])

    def test_a_token_opens_the_app_it_is_for(self) -> None:
        drone = self.cluster.drone()
        self.push()
        answer = drone.ask(FetchToken, app="webapp")
        self.assertTrue(self.cluster.hub.tokens.opens(answer["token"], "webapp"))
        self.assertFalse(self.cluster.hub.tokens.opens(answer["token"], "other"))
        with self.assertRaises(UnknownApp):
            drone.ask(FetchToken, app="other")
        with self.assertRaises(UsageError):
            drone.ask(FetchToken, app="../x")


class AddressTests(SynchronousTestCase):
    def host(self, peer: str, advertise: str = "", hub_advertises: str = "") -> str:
        cluster = Cluster()
        fleet = Fleet(cluster.clock, cluster.hub.ledger, hub_advertises, lambda name: None)
        return fleet._host(peer, advertise)

    def test_is_what_the_drone_says_else_where_the_hub_sees_it(self) -> None:
        self.assertEqual(self.host("192.0.2.7"), "192.0.2.7")
        self.assertEqual(self.host("192.0.2.7", "example.org"), "example.org")
        self.assertEqual(self.host("::ffff:192.0.2.7"), "192.0.2.7")
        self.assertEqual(self.host("2001:db8::1"), "2001:db8::1")

    def test_of_this_machine_is_what_the_hub_advertises(self) -> None:
        for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1", ""):
            self.assertEqual(self.host(peer), "127.0.0.1")
            self.assertEqual(self.host(peer, hub_advertises="hub.example.org"), "hub.example.org")
