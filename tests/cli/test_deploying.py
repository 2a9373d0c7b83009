"""The conversation of a deploy with the hub, on the real wire without sockets."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.deploying import Deploying
from deployd.cli.deployment import Deployment, Wanted
from deployd.cli.work_tree import GitRemote, WorkTree
from deployd.errors import NoAnswer, SecretRefused, UnknownApp, Unreachable, UsageError
from deployd.net.secret import Secret
from tests.cli.clusters import Bench
from tests.cli.scripted_hub import COMMIT, drone


def wanted(app: str | None = "webapp", **changes: Any) -> Wanted:
    plain: dict[str, Any] = {"commit": "master", "drones": (), "where": (), "need": "all"}
    return Wanted(app, **(plain | changes))


class DeployingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shown: list[Deployment] = []

    def deploying(self, wish: Wanted | None = None, detach: bool = False) -> Deploying:
        return Deploying(wish or wanted(), self.shown.append, detach)

    def test_asks_for_what_was_wanted_and_gives_the_hub_less_time_than_it_has(self) -> None:
        bench = Bench(seconds=120, state="deployed")
        bench.cluster.settings = evolve(bench.cluster.settings, timeout=120.0)
        wish = wanted(drones=("d1",), where=("region=eu",), need="50%")
        self.successResultOf(bench.start(self.deploying(wish).work(bench.cluster)))
        (asked,) = bench.hub.asked_for("Deploy")
        self.assertEqual(asked.pop("timeout"), 118)
        self.assertEqual(
            asked,
            {"app": "webapp", "commit": "master", "drones": ["d1"], "where": ["region=eu"], "need": "50%"},
        )

    def test_without_a_deadline_of_its_own_it_waits_as_long_as_the_hub_does(self) -> None:
        bench = Bench(seconds=10, left=30.0)
        working = bench.start(self.deploying().work(bench.cluster))
        (asked,) = bench.hub.asked_for("Deploy")
        self.assertEqual(asked["timeout"], 0)
        bench.way.advance(20)
        bench.change(left=20.0)
        bench.way.advance(15)
        self.assertNoResult(working)
        bench.change(left=0.0)
        bench.way.advance(25)
        self.failureResultOf(working, NoAnswer)

    def test_follows_the_release_until_it_is_deployed(self) -> None:
        bench = Bench(drones=[drone("d1", "pending"), drone("d2", "pending")])
        working = bench.start(self.deploying().work(bench.cluster))
        self.assertNoResult(working)
        bench.change(drones=[drone("d1", "ready"), drone("d2", "pending")])
        bench.change(drones=[drone("d1", "ready"), drone("d2", "ready")], state="deployed")
        deployment = self.successResultOf(working)
        self.assertEqual((deployment.state, deployment.release, deployment.commit), ("deployed", "v1", COMMIT))
        states = [[row["state"] for row in shown.drones] for shown in self.shown]
        self.assertEqual(states, [["pending", "pending"], ["ready", "pending"], ["ready", "ready"]])

    def test_shows_nothing_of_a_release_that_is_deployed_already(self) -> None:
        bench = Bench(state="deployed", changed=False, drones=[drone("d1", "ready")])
        deployment = self.successResultOf(bench.start(self.deploying().work(bench.cluster)))
        self.assertEqual(deployment.verdict(), f"webapp v1 ({COMMIT[:7]}) is deployed already")
        self.assertEqual(self.shown, [])

    def test_does_not_wait_when_detached(self) -> None:
        bench = Bench(drones=[drone("d1", "pending")])
        deployment = self.successResultOf(bench.start(self.deploying(detach=True).work(bench.cluster)))
        self.assertEqual(deployment.state, "deploying")
        self.assertFalse(deployment.failed)

    def test_tells_a_failure_with_its_drones(self) -> None:
        bench = Bench(drones=[drone("d1", "pending")])
        working = bench.start(self.deploying().work(bench.cluster))
        bench.change(state="failed", reason="1 of 1 drones failed", drones=[drone("d1", "failed", "no such command")])
        deployment = self.successResultOf(working)
        self.assertTrue(deployment.failed)
        self.assertIn("d1: failed: no such command", deployment.complaint())

    def test_an_unknown_app_is_the_hubs_own_sentence(self) -> None:
        bench = Bench(errors={"Deploy": UnknownApp("there is no app 'webapp'")})
        failure = self.failureResultOf(bench.start(self.deploying().work(bench.cluster)), UnknownApp)
        self.assertEqual(str(failure.value), "there is no app 'webapp'")

    def test_a_refused_connection_is_told_at_once(self) -> None:
        bench = Bench()
        bench.way.up = False
        failure = self.failureResultOf(bench.start(self.deploying().work(bench.cluster)), Unreachable)
        self.assertIn("hubhost:6001", str(failure.value))
        self.assertIn("--hub", str(failure.value))

    def test_goes_on_following_when_a_hub_that_died_is_back(self) -> None:
        bench = Bench(seconds=60, drones=[drone("d1", "pending")])
        working = bench.start(self.deploying().work(bench.cluster))
        bench.way.up = False
        bench.way.cut()
        bench.way.advance(3)
        self.assertNoResult(working)
        bench.hub.change(state="deployed", drones=[drone("d1", "ready")])
        bench.way.up = True
        bench.way.advance(1)
        self.assertEqual(self.successResultOf(working).state, "deployed")
        self.assertEqual(len(bench.hub.asked_for("Deploy")), 1)

    def test_gives_up_at_the_deadline_on_a_hub_that_does_not_come_back(self) -> None:
        bench = Bench(seconds=5)
        working = bench.start(self.deploying().work(bench.cluster))
        bench.way.up = False
        bench.way.cut()
        bench.way.advance(4)
        self.assertNoResult(working)
        bench.way.advance(2)
        self.failureResultOf(working, Unreachable)

    def test_says_at_the_deadline_that_the_release_goes_on(self) -> None:
        bench = Bench(seconds=5, drones=[drone("d1", "pending")])
        working = bench.start(self.deploying().work(bench.cluster))
        bench.way.advance(5)
        failure = self.failureResultOf(working, NoAnswer)
        self.assertIn("webapp v1", str(failure.value))

    def test_a_wrong_secret_says_where_to_look(self) -> None:
        bench = Bench(secret=Secret("wrong"))
        failure = self.failureResultOf(bench.start(self.deploying().work(bench.cluster)), SecretRefused)
        self.assertIn("--secret-file", str(failure.value))
        self.assertNotIn("wrong;", str(failure.value).replace("the secret is wrong;", ""))

    def test_finds_the_app_of_a_work_tree_by_the_hubs_git_address(self) -> None:
        remote = GitRemote.parse("deployd", "http://x:secret@hubhost:6002/team/webapp.git")
        assert remote is not None
        bench = Bench(state="deployed")
        wish = wanted(None, commit=COMMIT, tree=WorkTree((remote,), COMMIT))
        self.successResultOf(bench.start(self.deploying(wish).work(bench.cluster)))
        self.assertEqual(bench.hub.asked_for("Deploy")[0]["app"], "team/webapp")

    def test_a_work_tree_without_such_a_remote_is_a_usage_error(self) -> None:
        bench = Bench()
        wish = wanted(None, commit=COMMIT, tree=WorkTree((), COMMIT))
        self.failureResultOf(bench.start(self.deploying(wish).work(bench.cluster)), UsageError)
        self.assertEqual(bench.hub.asked_for("Deploy"), [])
