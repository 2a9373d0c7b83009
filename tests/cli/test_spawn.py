"""What is given to ``deployctl spawn``."""

from __future__ import annotations

import io

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.config_words import own
from deployd.errors import DeploydError
from deployd.model.invalid import Invalid
from tests.cli.commands import deployctl

CANARY = "xyzzy-canary"


def stdin(content: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content))


class OwnTests(SynchronousTestCase):
    def test_a_value_is_given_in_a_word_or_on_stdin(self) -> None:
        self.assertEqual(own((), stdin()), {})
        self.assertEqual(own(("B=2", "A=-"), stdin(b"one\n")), {"A": "one", "B": "2"})

    def test_what_is_wrong_is_a_sentence_without_a_value(self) -> None:
        for pairs, problem in (
            ((CANARY,), "the 1st --env is no NAME=VALUE"),
            (("A=-", "B=-"), "stdin can give one value"),
            ((f"A={CANARY * 1000}",), "the value of A is longer than 8192 bytes"),
        ):
            with self.assertRaises((DeploydError, Invalid)) as caught:
                own(pairs, stdin(b""))
            self.assertIn(problem, str(caught.exception))
            self.assertNotIn(CANARY, str(caught.exception))


class SpawnTests(SynchronousTestCase):
    def test_without_a_command_or_with_a_bad_word_nobody_is_asked(self) -> None:
        for words, problem in (
            (("spawn", "webapp", "v1"), "Missing argument"),
            (("spawn", "a b", "v1", "--", "x"), "not an app name"),
            (("spawn", "webapp", "v1", "--env", f"=={CANARY}", "--", "x"), "the 1st --env is no NAME=VALUE"),
            (("spawn", "webapp", "v1", "--", "x", "y" * 70_000), "the command is longer than 16384 bytes"),
            (("exec", "webapp", "v1", "--", "x", "y" * 70_000), "the command is longer than 16384 bytes"),
        ):
            ran = deployctl(*words)
            self.assertEqual(ran.code, 2)
            self.assertIn(problem, ran.error)
            self.assertNotIn(CANARY, ran.error)
