"""What the hub relies on in repositories; the real ones and the fake both pass (design rule 8)."""

from __future__ import annotations

from typing import Any

from deployd.errors import Refused, UnknownApp, UnknownCommit
from deployd.model.intent import Intent
from deployd.model.invalid import Invalid


class RepositoriesContract:
    """A test case mixes it in and gives ``repositories`` and ``push``, a commit with one file ``Procfile``.

    ``intent``: the push asks for a deploy, by that id.
    """

    repositories: Any

    def push(self: Any, app: str, content: bytes, intent: str = "") -> str:
        raise AssertionError("the test case says how")

    def test_an_app_is_there_once_it_was_pushed(self: Any) -> None:
        self.assertFalse(self.repositories.exists("team/webapp"))
        commit = self.push("team/webapp", b"http: x")
        self.assertTrue(self.repositories.exists("team/webapp"))
        self.assertEqual(self.repositories.apps(), ["team/webapp"])
        self.assertEqual(self.repositories.head("team/webapp"), commit)

    def test_a_commit_is_found_by_all_its_names(self: Any) -> None:
        commit = self.push("webapp", b"http: x")
        for name in ("master", "HEAD", "refs/heads/master", commit, commit[:7], commit[:7].upper()):
            self.assertEqual(self.repositories.resolve("webapp", name), commit)

    def test_what_is_not_there_is_unknown(self: Any) -> None:
        commit = self.push("webapp", b"http: x")
        other = self.push("other", b"http: y")
        for name in ("nosuch", "0" * 40, other, commit[:3], "v1", ""):
            with self.assertRaises(UnknownCommit):
                self.repositories.resolve("webapp", name)
        for ask in (self.repositories.head, lambda app: self.repositories.resolve(app, "master")):
            with self.assertRaises(UnknownApp):
                ask("nosuch")
        with self.assertRaises(Invalid):
            self.repositories.exists("../x")

    def test_the_default_branch_is_one_that_is_there(self: Any) -> None:
        self.push("webapp", b"http: x")
        self.repositories.set_head("webapp", "master")
        self.assertEqual(self.repositories.resolve("webapp", "HEAD"), self.repositories.head("webapp"))
        for wrong in ("main", "", "refs/heads/master"):
            with self.assertRaises(UnknownCommit):
                self.repositories.set_head("webapp", wrong)
        with self.assertRaises(UnknownApp):
            self.repositories.set_head("nosuch", "master")

    def test_only_a_commit_of_the_app_is_kept(self: Any) -> None:
        commit = self.push("webapp", b"http: x")
        self.repositories.keep("webapp", commit)
        self.repositories.keep("webapp", commit)
        for wrong in (self.push("other", b"http: y"), "0" * 40, commit[:7]):
            with self.assertRaises(UnknownCommit):
                self.repositories.keep("webapp", wrong)
        with self.assertRaises(UnknownApp):
            self.repositories.keep("nosuch", commit)

    def test_files_are_read_up_to_a_limit(self: Any) -> None:
        commit = self.push("webapp", b"http: x")
        self.assertEqual(self.repositories.read_file("webapp", commit, "Procfile", 7), b"http: x")
        self.assertIsNone(self.repositories.read_file("webapp", commit, "nosuch", 7))
        with self.assertRaises(Refused):
            self.repositories.read_file("webapp", commit, "Procfile", 6)

    def test_what_is_no_file_of_a_commit_is_absent(self: Any) -> None:
        commit = self.push("webapp", b"http: x")
        self.assertEqual(self.repositories.absent("webapp", commit, ["a/b", "Procfile", "gone"]), ["a/b", "gone"])
        self.assertEqual(self.repositories.absent("webapp", commit, []), [])
        with self.assertRaises(UnknownApp):
            self.repositories.absent("nosuch", commit, ["Procfile"])

    def test_what_a_push_asks_for_is_there_until_it_is_forgotten(self: Any) -> None:
        self.push("other", b"http: x")
        commit = self.push("webapp", b"http: x", intent="1a")
        asked = [Intent("1a", "refs/heads/master", None, commit, ("deploy",))]
        self.assertEqual(self.repositories.intents("webapp"), asked)
        self.assertEqual(self.repositories.intents("webapp", "1a"), asked)
        self.assertEqual(self.repositories.intents("webapp", "2b") + self.repositories.intents("other"), [])
        for _ in range(2):
            self.repositories.forget("webapp", "1a")
            self.assertEqual(self.repositories.intents("webapp"), [])
