"""``git push -o deploy`` and the app's deploy-branch: the deploy is saved, then its pusher told how it goes."""

from __future__ import annotations

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.web.pushing import Told
from deployd.hub.deploy_lines import MAX_ROWS, MAX_TAILS, ending
from deployd.hub.deploys import Standing
from deployd.model.instance import State
from deployd.model.push_options import PushOptions
from deployd.model.release import DroneStatus, Release, ReleaseState
from deployd.wire.control import SetPolicy
from tests.hub.asking import done
from tests.hub.rig import Cluster

MASTER = "refs/heads/master"


@define(eq=False)
class Listener:
    """A voice's side of a pusher who reads everything."""

    gone: bool = False
    said: list[str] = Factory(list)
    left: object = None

    def say(self, line: str) -> None:
        self.said.append(line)

    def leave(self) -> None:
        self.gone = True
        self.left()  # type: ignore[operator]


class PushCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.listener = Listener()
        self.following: Deferred[None] | None = None

    def push(self, *words: str, ref: str = MASTER, follow: bool = True) -> list[str]:
        """Push a new commit to ``ref`` with the options ``words``; what the pusher reads, but for what arrived."""
        self.commit = self.cluster.push(files={"Procfile": b"http: serve"}, ref=ref)
        options = PushOptions.parse(words)
        branch = self.cluster.hub.pushes.policy("webapp").deploy_branch
        target = options.target({ref: self.commit}, branch)
        receipt = Receipt(b"", [RefUpdate(ref, None, self.commit)], True, options, target)
        told: Told = done(
            Deferred.fromCoroutine(self.cluster.hub.pushes.pushed("webapp", receipt)), self.cluster.settle
        )
        self.follow = told.follow
        if told.follow is not None and follow:
            self.following = Deferred.fromCoroutine(told.follow(self.listener))  # type: ignore[arg-type]
            self.cluster.settle()
        return [*told.lines[1:], *self.listener.said]

    def set(self, **values: str) -> None:
        named = {name.replace("_", "-"): value for name, value in values.items()}
        self.cluster.person.ask(SetPolicy, app="webapp", values=named)

    def title(self, release: str = "v1") -> str:
        return f"deployd: webapp {release} ({self.commit[:7]})"

    def done(self) -> str:
        return f"deployd: the push itself is done: master is at {self.commit[:7]}"

    def assert_followed(self) -> None:
        assert self.following is not None
        self.successResultOf(self.following)


class DeployTests(PushCase):
    def test_tells_every_drones_progress_to_its_end(self) -> None:
        self.cluster.drone("d1")
        slow = self.cluster.drone("d2")
        slow.trouble["http"] = {"state": State.STARTING}
        said = self.push("deploy")
        self.assertEqual(said[0], f"deployd: deploying {self.title()[9:]}; Ctrl-C only stops watching")
        self.assertIn("deployd: d1: ready", said)
        self.assertIn("deployd: d2: pending: does not listen on port 20000 yet", said)
        slow.change("http", state=State.READY)
        self.cluster.pass_time(1)
        self.assert_followed()
        self.assertEqual(
            self.listener.said[-2:], ["deployd: d2: ready", f"{self.title()} is deployed: 2 of 2 drones ready"]
        )
        self.assertEqual(len(self.listener.said), len(set(self.listener.said)))
        self.assertEqual(self.cluster.events()[-3:], ["push", "deploy", "deployed"])

    def test_a_failure_has_its_reason_the_last_lines_and_that_the_push_is_done(self) -> None:
        drone = self.cluster.drone("d1")
        failed = {"state": State.FAILED, "reason": "it ended\x1b with code 1", "tail": "one\n\x1b[2Jtwo\n"}
        drone.trouble["http"] = failed
        said = self.push("deploy")
        self.assert_followed()
        mark = "\N{REPLACEMENT CHARACTER}"
        self.assertEqual(
            said[-5:],
            [
                f"{self.title()} failed: 1 of 1 drones have to be ready; 0 ready, 1 failed",
                f"deployd: d1: failed: it ended{mark} with code 1",
                "  | one",
                f"  | {mark}[2Jtwo",
                self.done(),
            ],
        )
        self.assertEqual(self.cluster.releases(), {"v1": "failed"})

    def test_has_the_time_of_any_deploy(self) -> None:
        self.cluster.drone("d1").trouble["http"] = {"state": State.STARTING}
        self.push("deploy.timeout=30")
        self.cluster.pass_time(29)
        self.assertNoResult(self.following)
        self.cluster.pass_time(2)
        self.assert_followed()
        self.assertIn("after 30 s", "".join(self.listener.said))

    def test_a_refusal_says_that_the_push_is_done(self) -> None:
        said = self.push("deploy")
        self.assertEqual(said, ["deployd: not deployed: no drone to deploy to: none has joined", self.done()])
        said = self.push("deploy.drone=nosuch")
        self.assertIn("not deployed: there is no drone 'nosuch'", said[0])
        self.assertIsNone(self.follow)
        self.assertEqual(self.cluster.releases(), {})

    def test_asks_as_deployctl_does(self) -> None:
        for name in ("d1", "d2"):
            self.cluster.drone(name, labels={"zone": name})
        self.push("deploy.where=zone=d2", "deploy.need=1")
        self.assert_followed()
        self.assertEqual(self.cluster.states(), ("deployed", {"d2": "ready"}))

    def test_who_leaves_only_stops_watching(self) -> None:
        drone = self.cluster.drone("d1")
        drone.trouble["http"] = {"state": State.STARTING}
        self.push("deploy")
        assert self.following is not None
        self.assertNoResult(self.following)
        self.listener.leave()
        self.assert_followed()
        drone.change("http", state=State.READY)
        self.cluster.settle()
        self.assertEqual(self.cluster.releases(), {"v1": "deployed"})

    def test_detached_says_only_what_was_begun(self) -> None:
        self.cluster.drone("d1")
        said = self.push("deploy.detach")
        self.assertIsNone(self.follow)
        self.assertEqual(said, [f"{self.title()} is being deployed; `deployctl releases webapp` says how that ends"])
        self.assertEqual(self.cluster.releases(), {"v1": "deployed"})

    def test_of_what_is_deployed_already_says_so(self) -> None:
        self.cluster.drone("d1")
        self.push("deploy")
        again = Receipt(b"", [RefUpdate("refs/heads/b", None, self.commit)], True, PushOptions(True), "refs/heads/b")
        told = done(Deferred.fromCoroutine(self.cluster.hub.pushes.pushed("webapp", again)), self.cluster.settle)
        self.assertEqual(told.lines[1:], [f"{self.title()} is deployed already"])

    def test_a_tag_is_deployed_where_no_branch_came(self) -> None:
        self.cluster.drone("d1")
        self.push("deploy", ref="refs/tags/v1.0")
        self.assert_followed()
        self.assertEqual(self.cluster.releases(), {"v1": "deployed"})

    def test_what_was_not_taken_is_not_deployed(self) -> None:
        self.cluster.drone("d1")
        commit = self.cluster.push()
        receipt = Receipt(b"", [RefUpdate("refs/tags/x", None, commit)], True, PushOptions(True), MASTER)
        told = done(Deferred.fromCoroutine(self.cluster.hub.pushes.pushed("webapp", receipt)), self.cluster.settle)
        self.assertIn("deployd: not deployed: 'master' was not taken", told.lines)
        self.assertEqual(self.cluster.releases(), {})

    def test_outlives_a_restart_of_the_hub(self) -> None:
        drone = self.cluster.drone("d1")
        drone.trouble["http"] = {"state": State.STARTING}
        self.push("deploy")
        self.cluster.restart()
        self.listener.leave()
        self.assert_followed()
        drone.join()
        drone.change("http", state=State.READY)
        self.cluster.settle()
        self.assertEqual(self.cluster.releases(), {"v1": "deployed"})


class DeployBranchTests(PushCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster.drone("d1")
        self.push()
        self.set(deploy_branch="main")

    def test_deploys_what_lands_there(self) -> None:
        said = self.push(ref="refs/heads/main")
        self.assert_followed()
        self.assertIn(f"{self.title()} is deployed: 1 of 1 drone ready", said)
        self.assertEqual(self.cluster.releases(), {"v1": "deployed"})

    def test_and_nothing_else(self) -> None:
        said = self.push()
        self.assertIn("runs it", said[0])
        self.push("no-deploy", ref="refs/heads/main")
        self.assertEqual(self.cluster.releases(), {})

    def test_says_that_it_was_skipped(self) -> None:
        said = self.push("no-deploy", ref="refs/heads/main")
        self.assertIn("deployd: not deployed, though main is the app's deploy-branch: -o no-deploy", said)

    def test_takes_options_too(self) -> None:
        self.push("deploy.detach", ref="refs/heads/main")
        self.assertIsNone(self.follow)
        self.assertEqual(self.cluster.releases(), {"v1": "deployed"})

    def test_a_deletion_deploys_nothing(self) -> None:
        receipt = Receipt(b"", [RefUpdate("refs/heads/main", self.commit, None)])
        told = done(Deferred.fromCoroutine(self.cluster.hub.pushes.pushed("webapp", receipt)), self.cluster.settle)
        self.assertEqual(told.lines, [f"deployd: branch main deleted; it was at {self.commit[:7]}"])


class ArrivalTests(PushCase):
    def arrival(self, *updates: RefUpdate) -> list[str]:
        receipt = Receipt(b"", list(updates))
        told = done(Deferred.fromCoroutine(self.cluster.hub.pushes.pushed("webapp", receipt)), self.cluster.settle)
        return list(told.lines)

    def test_says_what_came(self) -> None:
        self.push()
        one, two = "1" * 40, "2" * 40
        for update, line in (
            (RefUpdate(MASTER, None, two, commits=3), "new branch master at 2222222: 3 new commits"),
            (RefUpdate(MASTER, one, two, commits=1), "branch master 1111111..2222222: 1 new commit"),
            (RefUpdate(MASTER, one, two, 0, True), "branch master 1111111...2222222: 0 new commits (forced)"),
            (RefUpdate("refs/heads/b", one, None), "branch b deleted; it was at 1111111"),
            (RefUpdate("refs/tags/v1", None, two), "new tag v1 at 2222222"),
            (RefUpdate("refs/tags/v1", one, two), "tag v1 1111111..2222222"),
            (RefUpdate("refs/heads/a\x9b2J", one, None), "branch 'a\\x9b2J' deleted; it was at 1111111"),
        ):
            with self.subTest(line=line):
                self.assertEqual(self.arrival(update)[0], f"deployd: {line}")
        many = self.arrival(*(RefUpdate(f"refs/heads/b{n}", one, None) for n in range(15)))
        self.assertEqual((len(many), many[-1]), (11, "deployd: and 5 more refs"))


class EndingTests(SynchronousTestCase):
    def test_of_many_drones_is_bounded(self) -> None:
        release = Release("webapp", 2, "c" * 40, ReleaseState.FAILED, 0.0)
        rows = tuple(DroneStatus(f"d{n:04}", "failed", "no", "line\n" * 1000) for n in range(1000))
        lines = list(ending(release, Standing("failed", "why", "all", rows, 0.0)))
        self.assertEqual(len(lines), 1 + MAX_ROWS + MAX_TAILS * 20 + 1)
        self.assertIn("and 980 more drones", lines[-1])
        (line,) = ending(release, Standing("retired", "", "all", (), 0.0))
        self.assertIn("was taken down meanwhile (retired)", line)
