"""``deployctl key``: what it writes, what it prints, and what it never does."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.grant import ANY, Grant
from deployd.net.identity import Identity
from deployd.net.secret import Secret
from tests.cli.commands import deployctl


class KeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.file = self.directory / "build-7.key"

    def test_a_new_key_is_private_and_its_line_is_for_the_registry(self) -> None:
        words = ("--role", "web", "--role", "say", "--namespace", "default")
        ran = deployctl("key", "new", str(self.file), *words)
        self.assertEqual((ran.code, ran.error, self.file.stat().st_mode & 0o777), (0, "", 0o600))
        mine = Identity.read(self.file)
        grant = Grant.parse(ran.out.rstrip("\n"))
        self.assertEqual(grant, Grant(mine.key, "build-7", frozenset({"web", "say"}), frozenset({"default"})))
        self.assertEqual([path.name for path in self.directory.iterdir()], ["build-7.key"])

    def test_without_options_the_line_says_that_all_is_open(self) -> None:
        grant = Grant.parse(deployctl("key", "new", str(self.file), "--name", "ci").out.strip())
        self.assertEqual((grant.name, grant.roles, grant.namespaces), ("ci", ANY, ANY))

    def test_a_program_gets_the_parts(self) -> None:
        document = json.loads(deployctl("key", "new", str(self.file), "--json").out)
        mine = Identity.read(self.file)
        self.assertEqual(set(document), {"name", "owner", "key", "line"})
        self.assertEqual((document["name"], document["owner"]), ("build-7", mine.owner))
        self.assertEqual(Grant.parse(document["line"]).key, mine.key)

    def test_a_key_is_never_overwritten(self) -> None:
        deployctl("key", "new", str(self.file))
        before = self.file.read_bytes()
        ran = deployctl("key", "new", str(self.file))
        self.assertEqual((ran.code, ran.out, self.file.read_bytes()), (1, "", before))
        self.assertIn("never overwritten", ran.error)

    def test_show_prints_the_line_again_and_makes_nothing(self) -> None:
        words = ("--name", "ci", "--role", "web")
        made = deployctl("key", "new", str(self.file), *words)
        self.assertEqual(deployctl("key", "show", str(self.file), *words).out, made.out)
        ran = deployctl("key", "show", str(self.directory / "other"))
        self.assertEqual(ran.code, 2)
        self.assertIn("no such file", ran.error)
        self.assertFalse((self.directory / "other").exists())

    def test_what_can_be_no_line_leaves_no_key_behind(self) -> None:
        for words in (
            ("--role", "a b"),
            ("--namespace", "a/b"),
            ("--namespace", "c0ffee12" * 5),
            ("--name", "a b"),
            ("--name", "a\nb"),
        ):
            ran = deployctl("key", "new", str(self.file), *words)
            self.assertEqual(ran.code, 2, ran.error)
            self.assertFalse(self.file.exists())

    def test_where_nothing_can_be_written_is_one_sentence(self) -> None:
        ran = deployctl("key", "new", str(self.directory / "missing" / "k"))
        self.assertEqual(ran.code, 1)
        self.assertEqual(ran.error.count("\n"), 1)

    def test_the_read_token_is_made_from_the_secret(self) -> None:
        secret = self.directory / "secret"
        secret.write_text("beep boop\n")
        token = Secret("beep boop").read_token()
        ran = deployctl("key", "token", "--secret-file", str(secret))
        self.assertEqual((ran.code, ran.out), (0, token + "\n"))
        document = json.loads(deployctl("key", "token", "--secret-file", str(secret), "--json").out)
        self.assertEqual(document, {"token": token})

    def test_there_is_no_read_token_without_a_secret(self) -> None:
        ran = deployctl("key", "token")
        self.assertEqual(ran.code, 2)
        self.assertIn("give --secret-file", ran.error)
