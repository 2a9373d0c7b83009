"""What a pusher hears, and what a commit's files do to its deploys."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.web.pushing import Told
from deployd.hub.commits import Commits
from deployd.hub.push_deploys import PushDeploys
from deployd.hub.pushes import MAX_CHECKED, Pushes
from deployd.model.faults import MAX_FAULTS
from tests.hub.asking import done
from tests.hub.rig import Cluster

BROKEN = b"[roles.http]\n\ncount = 0\n"


class RemarkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()

    def push(self, *updates: RefUpdate, **files: bytes) -> list[str]:
        """What a push says; without ``updates`` that of a commit with ``files`` on master."""
        named = {name.replace("_", "."): content for name, content in files.items()}
        if not updates:
            updates = (RefUpdate("refs/heads/master", None, self.cluster.push(files=named)),)
        telling = Deferred.fromCoroutine(self.cluster.hub.pushes.pushed("webapp", Receipt(b"", list(updates))))
        lines = list(done(telling, self.cluster.settle).lines)
        arrivals = min(len(updates), MAX_CHECKED) + (len(updates) > MAX_CHECKED)
        return lines[arrivals:]

    def commit(self, **files: bytes) -> str:
        return self.cluster.push(files=files)

    def test_says_how_to_deploy_what_is_right(self) -> None:
        (said,) = self.push(Procfile=b"http: serve")
        short = self.cluster.repositories.resolve("webapp", "master")[:7]
        self.assertEqual(said, f"deployd: master {short}: `deployctl deploy webapp {short}` runs it")

    def test_says_that_only_some_drones_run_what_has_no_command(self) -> None:
        (said,) = self.push(README=b"x")
        self.assertIn("on drones with a command of their own", said)

    def test_says_which_roles_have_no_command_where_others_have(self) -> None:
        toml = b"[env]\nA = 'b'\n[roles.htpp]\ncount = 2\n"
        _, said = self.push(Procfile=b"http: serve", deployd_toml=toml)
        self.assertIn("no command here for htpp: only drones whose own command plays it", said)
        self.assertEqual(len(self.push(deployd_toml=toml)), 1)

    def test_names_file_and_line_of_all_that_is_wrong(self) -> None:
        first, second, last = self.push(Procfile=b"x", deployd_toml=BROKEN)
        self.assertIn("Procfile line 1: is not 'ROLE: COMMAND'", first)
        self.assertIn("deployd.toml line 3: roles.http.count is a whole number", second)
        self.assertIn("cannot be deployed until this is mended", last)
        *_, last = self.push(Procfile=b"x")
        self.assertIn("cannot be deployed, but to drones with a command of their own, until this is mended", last)

    def test_says_that_it_names_only_so_many(self) -> None:
        *faults, more, _ = self.push(Procfile=b"x\n" * (MAX_FAULTS + 1))
        self.assertEqual(len(faults), MAX_FAULTS)
        self.assertIn(f"there may be more; these are the first {MAX_FAULTS}", more)
        self.assertNotIn("there may be more", str(self.push(Procfile=b"x\n" * (MAX_FAULTS - 1))))

    def test_looks_into_what_cannot_be_read_as_text(self) -> None:
        said = self.push(Procfile=b"a: b\n\xff", deployd_toml=b"#" * 70_000)
        self.assertIn("Procfile line 2: is not UTF-8", said[0])
        self.assertIn("deployd.toml cannot be used: 'deployd.toml' in commit", said[1])
        self.assertIn("the limit is 65536", said[1])

    def test_a_cache_needs_its_files(self) -> None:
        build = b"[build]\ncommand = 'x'\ncache = ['a', 'b']\nmakes = ['c']"
        said = self.push(a=b"", deployd_toml=build)
        self.assertIn('deployd.toml line 3: build.cache names "b", which is no file of this commit', said[0])
        self.assertIn("runs it", self.push(a=b"", b=b"", deployd_toml=build)[0])

    def test_each_new_tip_is_looked_at_once_and_only_so_many(self) -> None:
        commits = [self.cluster.push(ref=f"refs/heads/b{n}") for n in range(15)]
        tips = [RefUpdate(f"refs/heads/b{n}", None, commit) for n, commit in enumerate(commits)]
        again = RefUpdate("refs/heads/again", None, commits[0])
        said = self.push(tips[0], again, RefUpdate("refs/heads/gone", commits[1], None), *tips[1:])
        self.assertEqual(len(said), 9 + 1)
        self.assertIn("6 more refs were not checked", said[-1])

    def test_a_new_tag_is_followed_to_its_commit(self) -> None:
        commit = self.cluster.push(files={"Procfile": b"http: x"}, ref="refs/tags/v1.0")
        (said,) = self.push(RefUpdate("refs/tags/v1.0", None, "f" * 40))
        self.assertIn(f"v1.0 {commit[:7]}: ", said)
        self.assertEqual(self.push(RefUpdate("refs/tags/tree", None, "e" * 40)), [])

    def test_a_name_cannot_move_the_cursor(self) -> None:
        commit = self.commit()
        (said,) = self.push(RefUpdate("refs/heads/a\x9b2J", None, commit))
        self.assertTrue(said.isprintable(), said)

    def test_a_check_that_fails_says_nothing(self) -> None:
        commit = self.commit()

        def fail(*_: object) -> Any:
            raise OSError("broken disk")

        self.cluster.repositories.read_file = fail  # type: ignore[method-assign]
        self.assertEqual(self.push(RefUpdate("refs/heads/master", None, commit)), [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_push_does_not_wait_for_a_check_that_hangs(self) -> None:
        commits = Commits(self.cluster.hub.ledger, self.cluster.repositories, lambda *_: Deferred())
        hub = self.cluster.hub
        deploys = PushDeploys(hub.deploys, hub.news)
        pushes = Pushes(self.cluster.clock, hub.ledger, hub.fleet, commits, deploys, hub.intents)
        answers: list[Told] = []
        update = RefUpdate("refs/heads/master", None, self.commit())
        Deferred.fromCoroutine(pushes.pushed("webapp", Receipt(b"", [update]))).addCallback(answers.append)
        self.cluster.settle()
        self.assertEqual(answers, [])
        self.cluster.pass_time(6)
        self.assertEqual([len(told.lines) for told in answers], [1])
        self.assertEqual(self.cluster.events(), ["push"])


class DeployTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.own = self.cluster.drone("own")

    def test_a_wrong_deployd_toml_is_refused_for_all(self) -> None:
        self.cluster.push(files={"Procfile": b"http: x", "deployd.toml": BROKEN})
        with self.assertRaisesRegex(Refused, "deployd.toml line 3: roles.http.count"):
            self.cluster.deploy(drones=["own"])
        self.assertEqual(self.cluster.releases(), {})

    def test_a_role_without_a_command_here_sets_what_a_drones_own_command_is(self) -> None:
        self.cluster.push(files={"deployd.toml": b"[roles.http.stop]\ngrace = 33\n"})
        self.cluster.deploy()
        (line,) = self.own.told[-1].values()
        self.assertEqual((line.argv, line.settings.stop.grace), (("serve",), 33.0))

    def test_a_wrong_procfile_leaves_that_as_it_is(self) -> None:
        self.cluster.push(files={"Procfile": b"http: x\nwrong", "deployd.toml": b"[roles.http.stop]\ngrace = 33\n"})
        self.cluster.deploy()
        (line,) = self.own.told[-1].values()
        self.assertEqual((line.argv, line.settings.stop.grace), (("serve",), 33.0))

    def test_the_environment_for_all_roles_is_that_of_a_role_that_no_file_names(self) -> None:
        self.cluster.push(files={"deployd.toml": b"[env]\nA = 'b'\n[roles.web]\nport = false\n"})
        other = self.cluster.drone("other", role="mail-worker")
        self.cluster.deploy()
        for drone, port in ((self.own, True), (other, False)):
            (line,) = drone.told[-1].values()
            self.assertEqual((line.settings.env, line.port), ({"A": "b"}, port))
