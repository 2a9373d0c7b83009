"""spawn: one more process of a release, until it is stopped or the release goes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused, UnknownApp, UnknownCommit, UnknownDrone, UsageError
from deployd.hub.extras import MAX_OF_ALL, MAX_OF_RELEASE
from deployd.model.desired import Changes
from deployd.model.extra import Extra
from deployd.model.instance import AssignedInstance, Goal, State
from deployd.model.invalid import Invalid
from deployd.wire.control import DrainDrone, Restart, Retire, Spawn, Stop
from deployd.wire.documents import dump
from tests.hub.asking import done
from tests.hub.rig import Cluster, FakeDrone

SECRET = "hunter2"


class ExtrasCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push()
        self.drones = [self.cluster.drone(name) for name in ("d1", "d2")]
        self.cluster.deploy()

    def spawn(self, *argv: str, env: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        asked = {"app": "webapp", "commit": "v1", "drones": [], "role": ""} | more
        return self.cluster.person.ask(Spawn, argv=list(argv or ("import", "all")), env=dump(env or {}), **asked)

    def added(self, drone: FakeDrone) -> dict[str, AssignedInstance]:
        return {line.id: line for line in drone.told[-1].values() if line.extra}

    def states(self) -> dict[str, str]:
        return {row["id"]: row["state"] for row in self.cluster.rows("instances") if row["role"] != "http"}


class SpawnTests(ExtrasCase):
    def test_runs_on_every_drone_of_the_release_beside_what_runs(self) -> None:
        answer = self.spawn()
        self.assertEqual((answer["release"], answer["commit"]), ("v1", self.commit))
        self.assertEqual(list(answer["ids"]), ["d1", "d2"])
        for drone in self.drones:
            self.assertEqual(drone.lines, {"http.v1": Goal.RUN, "run.v1": Goal.RUN})
            (line,) = self.added(drone).values()
            self.assertEqual((line.id, line.argv), (answer["ids"][drone.description.name], ("import", "all")))
            self.assertFalse(line.port)
        self.assertEqual(self.states(), dict.fromkeys(answer["ids"].values(), "ready"))

    def test_twice_the_same_is_two_processes(self) -> None:
        self.assertNotEqual(self.spawn()["ids"], self.spawn()["ids"])
        self.assertEqual(len(self.added(self.drones[0])), 2)

    def test_runs_on_the_drones_that_are_named(self) -> None:
        self.assertEqual(list(self.spawn(drones=["d2"])["ids"]), ["d2"])
        self.assertEqual((self.added(self.drones[0]), len(self.added(self.drones[1]))), ({}, 1))
        self.assertEqual(self.added(self.cluster.drone("d3")), {})

    def test_a_drone_that_comes_later_gets_what_is_for_all(self) -> None:
        self.spawn()
        self.assertEqual(len(self.added(self.cluster.drone("d3"))), 1)

    def test_a_role_has_a_port_as_roles_have(self) -> None:
        for role, port in (("http", True), ("mail-worker", False), ("run", True)):
            self.spawn(role=role, drones=["d1"])
            (line,) = [line for line in self.added(self.drones[0]).values() if line.role == role]
            self.assertEqual(line.port, port)

    def test_is_kept_over_a_kill_of_the_hub(self) -> None:
        ids = self.spawn()["ids"]
        self.cluster.restart()
        self.drones[0].join()
        self.assertEqual(list(self.added(self.drones[0])), [ids["d1"]])

    def test_neither_its_environment_nor_its_words_are_told_or_saved_in_the_clear(self) -> None:
        self.spawn("sh", "-c", f"login {SECRET}-typed", env={"TOKEN": f"{SECRET}-given"})
        events = done(self.cluster.store.events(100), self.cluster.settle)
        spawned = next(event for event in events if event.what == "spawn")
        self.assertEqual(spawned.detail, "v1 run 'sh' on d1, d2")
        self.assertNotIn(SECRET, repr(events))
        (extra,) = self.cluster.store.desired.extras.values()
        self.assertTrue(extra.sealed)
        self.assertNotIn(f"{SECRET}-given", extra.sealed + repr(extra))
        configs = self.cluster.hub.configs
        key = ("webapp", "v1", self.commit)
        values = Deferred.fromCoroutine(configs.of_release("d1", self.drones[0].seen, key, extra.name))
        self.assertEqual(self.successResultOf(values), {"TOKEN": f"{SECRET}-given"})

    def test_what_cannot_run_is_refused_and_leaves_nothing_behind(self) -> None:
        self.cluster.drone("d3", apps=("other",))
        for error, more in (
            (UsageError, {"argv": []}),
            (UsageError, {"role": "release"}),
            (Invalid, {"role": "a b"}),
            (Invalid, {"argv": ["x" * 20_000]}),
            (Invalid, {"argv": ["nul\0"]}),
            (Invalid, {"env": {"PORT": "1"}}),
            (UnknownApp, {"app": "other"}),
            (UnknownCommit, {"commit": "v9"}),
            (UnknownDrone, {"drones": ["d9"]}),
            (Refused, {"drones": ["d3"]}),
        ):
            asked = {"argv": ["x"], "env": {}, "app": "webapp", "commit": "v1", "drones": [], "role": ""} | more
            with self.assertRaises((error, UsageError) if error is Invalid else error):
                self.cluster.person.ask(Spawn, **(asked | {"env": dump(asked["env"])}))
        self.assertEqual(self.cluster.store.desired.extras, {})

    def test_a_release_that_is_not_there_any_more_takes_none(self) -> None:
        self.cluster.person.ask(Retire, app="webapp", commit="v1")
        with self.assertRaises(Refused) as caught:
            self.spawn()
        self.assertIn("webapp v1 is retir", str(caught.exception))

    def test_a_machine_that_is_emptied_takes_none(self) -> None:
        self.cluster.person.ask(DrainDrone, name="d2", drain=True, force=True)
        with self.assertRaises(Refused):
            self.spawn(drones=["d2"])
        self.assertEqual(list(self.spawn()["ids"]), ["d1"])
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=True)
        with self.assertRaises(Refused):
            self.spawn()


class LifeTests(ExtrasCase):
    def test_stopped_it_stays_so_and_a_restart_brings_it_back(self) -> None:
        ids = self.spawn()["ids"]
        self.cluster.person.ask(Stop, ids=[ids["d1"]])
        self.assertEqual(self.states(), {ids["d1"]: "stopped", ids["d2"]: "ready"})
        generations = self.cluster.person.ask(Restart, ids=[ids["d1"]])["generations"]
        self.assertEqual(generations, {ids["d1"]: 1})
        self.assertEqual(self.states(), dict.fromkeys(ids.values(), "ready"))

    def test_a_deploy_of_its_release_lets_it_run_again(self) -> None:
        ids = self.spawn()["ids"]
        self.cluster.person.ask(Stop, ids=list(ids.values()))
        self.cluster.deploy()
        self.assertEqual(self.states(), dict.fromkeys(ids.values(), "ready"))

    def test_its_failures_are_no_failure_of_the_release(self) -> None:
        for drone in self.drones:
            drone.trouble["run"] = {"state": State.FAILED, "reason": "ended 20 times"}
        self.spawn()
        self.assertEqual(self.cluster.states()[1], {"d1": "ready", "d2": "ready"})
        self.assertFalse(self.cluster.deploy()["changed"])

    def test_it_goes_with_its_release_for_good(self) -> None:
        ids = self.spawn()["ids"]
        self.cluster.person.ask(Stop, ids=[ids["d1"]])
        self.cluster.person.ask(Retire, app="webapp", commit="v1")
        self.cluster.pass_time(2)
        self.assertEqual(self.cluster.releases(), {"v1": "retired"})
        self.assertEqual((self.cluster.store.desired.extras, self.cluster.store.desired.orders), ({}, {}))
        self.cluster.deploy()
        self.assertEqual(self.drones[0].lines, {"http.v1": Goal.RUN})

    def test_a_machine_that_is_emptied_ends_it(self) -> None:
        self.spawn()
        self.cluster.person.ask(DrainDrone, name="d2", drain=True, force=True)
        self.assertEqual(self.drones[1].lines, {})

    def test_during_the_release_command_it_waits(self) -> None:
        self.cluster.push(files={"Procfile": b"release: migrate\nhttp: serve\n"})
        self.drones[0].trouble["release"] = {"state": State.STARTING}
        self.cluster.deploy()
        ids = self.spawn(commit="v2")["ids"]
        self.assertEqual(self.drones[1].lines, {"http.v1": Goal.RUN})
        self.drones[0].trouble["release"] = {}
        self.drones[0].change("release", state=State.DONE)
        self.assertEqual(set(self.states()), set(ids.values()))


class RoomTests(ExtrasCase):
    def fill(self, count: int, number: int) -> None:
        extras = tuple(Extra(f"x{number}-{n}", "webapp", number, "run", ("x",), False) for n in range(count))
        change = self.cluster.hub.ledger.change(lambda desired: Changes(extras=extras))
        done(Deferred.fromCoroutine(change), self.cluster.settle)

    def test_those_that_are_stopped_everywhere_make_room(self) -> None:
        self.fill(MAX_OF_RELEASE, 1)
        with self.assertRaises(Refused) as caught:
            self.spawn()
        self.assertIn("stop some first", str(caught.exception))
        half = [one.id for one in self.drones[0].seen.values() if one.role == "run"][:1]
        self.cluster.person.ask(Stop, ids=half)
        with self.assertRaises(Refused):
            self.spawn()
        extra = next(line.extra for line in self.added(self.drones[0]).values() if line.id == half[0])
        whole = [line.id for line in self.added(self.drones[1]).values() if line.extra == extra]
        self.cluster.person.ask(Stop, ids=whole)
        self.spawn()
        self.assertNotIn(extra, self.cluster.store.desired.extras)
        self.assertEqual(len(self.cluster.store.desired.extras), MAX_OF_RELEASE)
        self.assertFalse({*half, *whole} & self.cluster.store.desired.orders.keys())

    def test_of_all_releases_together_there_is_an_end_too(self) -> None:
        for number in range(2, 12):
            self.fill(MAX_OF_ALL // 10, number)
        with self.assertRaises(Refused) as caught:
            self.spawn()
        self.assertIn("retire", str(caught.exception))
