"""What a git work tree says about a deploy; with real git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.work_tree import GitRemote, WorkTree, read_work_tree
from deployd.errors import UsageError
from deployd.model.address import Address

HEAD = "a" * 40


def tree(*urls: str) -> WorkTree:
    remotes = [GitRemote.parse(f"r{number}", url) for number, url in enumerate(urls)]
    return WorkTree(tuple(remote for remote in remotes if remote is not None), HEAD)


class AppTests(SynchronousTestCase):
    def test_is_the_path_of_the_remote_at_the_hubs_git(self) -> None:
        found = tree("https://example.org/other.git", "http://x:pw@hubhost:6002/team/webapp.git", "git@host:x/y")
        self.assertEqual(found.app("hubhost:6002", "hubhost"), "team/webapp")

    def test_loopback_has_many_names(self) -> None:
        self.assertEqual(tree("http://localhost:6002/webapp").app("127.0.0.1:6002", "127.0.0.1"), "webapp")
        self.assertEqual(tree("http://127.0.0.1:6002/webapp").app("[::1]:6002", "localhost"), "webapp")

    def test_the_name_that_was_dialled_counts_too(self) -> None:
        self.assertEqual(tree("http://hub.lan:6002/webapp").app("10.0.0.5:6002", "hub.lan"), "webapp")

    def test_another_port_or_host_is_another_hub(self) -> None:
        for url in ("http://hubhost:7002/webapp", "http://other:6002/webapp", "http://localhost:6002/webapp"):
            with self.assertRaises(UsageError):
                tree(url).app("hubhost:6002", "hubhost")

    def test_remotes_of_two_apps_need_a_choice(self) -> None:
        with self.assertRaises(UsageError) as raised:
            tree("http://h:1/b", "http://h:1/a").app("h:1", "h")
        self.assertIn("a, b", str(raised.exception))

    def test_two_remotes_of_one_app_do_not(self) -> None:
        self.assertEqual(tree("http://h:1/a", "http://h:1/a.git").app("h:1", "h"), "a")

    def test_no_sentence_shows_the_urls_secret(self) -> None:
        with self.assertRaises(UsageError) as raised:
            tree("http://x:hunter2@other:1/a").app("h:1", "h")
        self.assertNotIn("hunter2", str(raised.exception))
        self.assertNotIn("hunter2", repr(tree("http://x:hunter2@other:1/a")))

    def test_a_hub_without_a_git_address_needs_the_name(self) -> None:
        with self.assertRaises(UsageError):
            tree("http://h:1/a").app("", "h")

    def test_the_default_port_is_the_schemes(self) -> None:
        self.assertEqual(GitRemote.parse("r", "https://h/a"), GitRemote("r", Address("h", 443), "a"))
        self.assertEqual(GitRemote.parse("r", "http://h:99999/a"), None)


class ReadTests(SynchronousTestCase):
    def git(self, *arguments: str) -> str:
        identity = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t"}
        plain = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", "-C", str(self.place), *arguments],
            env=plain | identity | {"GIT_COMMITTER_EMAIL": "t@t"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir(parents=True)

    def test_head_and_remotes(self) -> None:
        self.git("init", "-q")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        self.git("remote", "add", "hub", "http://x:pw@h:6002/webapp.git")
        self.git("remote", "add", "origin", "git@example.org:a/b.git")
        (self.place / "sub").mkdir()
        found = read_work_tree(self.place / "sub")
        self.assertEqual(found.head, self.git("rev-parse", "HEAD"))
        self.assertEqual(found.remotes, (GitRemote("hub", Address("h", 6002), "webapp"),))

    def test_before_the_first_commit_there_is_no_head(self) -> None:
        self.git("init", "-q")
        self.assertEqual(read_work_tree(self.place), WorkTree((), ""))

    def test_elsewhere_the_person_is_asked_for_names(self) -> None:
        with self.assertRaises(UsageError) as raised:
            read_work_tree(Path("/"))
        self.assertIn("deployctl deploy APP COMMIT", str(raised.exception))
