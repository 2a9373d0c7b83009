"""What is given to ``deployctl config``: in words, in a file, on stdin."""

from __future__ import annotations

import io
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.config_words import MAX_FILE, given
from deployd.errors import DeploydError
from deployd.model.invalid import Invalid
from tests.cli.commands import deployctl

CANARY = "xyzzy-canary"


def stdin(content: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content))


class GivenTests(SynchronousTestCase):
    def test_words_are_variables_with_all_that_follows(self) -> None:
        self.assertEqual(given(("A=1=2", "B=", "C= x "), None, stdin()), {"A": "1=2", "B": "", "C": " x "})

    def test_a_lone_dash_is_what_stdin_has_without_its_last_line_end(self) -> None:
        for content, value in (
            (b"s\n", "s"),
            (b"s\r\n", "s"),
            (b"s", "s"),
            (b"a\n\n", "a\n"),
            (b"", ""),
            (b"-\n", "-"),
        ):
            self.assertEqual(given(("A=-", "B=--"), None, stdin(content)), {"A": value, "B": "--"})

    def test_a_file_is_read_beside_the_words(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(b"\xef\xbb\xbfA=-\nB='x'\n")
        self.assertEqual(given(("C=3",), path, stdin()), {"A": "-", "B": "x", "C": "3"})
        self.assertEqual(given((), "-", stdin(b"A=1")), {"A": "1"})

    def test_what_is_wrong_is_a_sentence_without_a_value(self) -> None:
        path = self.mktemp()
        Path(path).write_text(f"A={CANARY}\n{CANARY}\n")
        twice = self.mktemp()
        Path(twice).write_text(f"A={CANARY}")
        latin = self.mktemp()
        Path(latin).write_bytes(b"A=\xe9" + CANARY.encode())
        for pairs, file, problem in (
            ((), None, "nothing to set"),
            (("A=1", CANARY), None, "the 2nd word behind the app is no NAME=VALUE"),
            ((f"{CANARY}=",), None, "the 1st word behind the app is no NAME=VALUE"),
            (("A=1", f"A={CANARY}"), None, "A is given twice"),
            ((f"PORT={CANARY}",), None, "PORT is what deployd itself says"),
            ((f"A={CANARY * 9000}",), None, "the value of A is longer than"),
            ((f"A={CANARY}\udcff",), None, "the value of A is not UTF-8"),
            (("A=-", "B=-"), None, "stdin can give one value"),
            (("A=-",), "-", "stdin can give one value"),
            ((), path, f"{path}, line 2 is no NAME=VALUE"),
            (("A=2",), twice, f"A is both in {twice} and among the words"),
            ((), latin, "is not UTF-8"),
            ((), "nosuch", "cannot read nosuch: No such file"),
            ((), "/dev/zero", f"more than {MAX_FILE} bytes"),
        ):
            with self.assertRaises((DeploydError, Invalid)) as caught:
                given(pairs, file, stdin())
            self.assertIn(problem, str(caught.exception))
            self.assertNotIn(CANARY, str(caught.exception))


class UsageTests(SynchronousTestCase):
    def test_wrong_usage_is_exit_2(self) -> None:
        for arguments in (
            ["config", "set"],
            ["config", "set", "webapp"],
            ["config", "set", "a b", "A=1"],
            ["config", "set", "webapp", CANARY],
            ["config", "unset", "webapp"],
            ["config", "unset", "webapp", "PORT"],
            ["config", "ls"],
            ["config", "frobnicate", "webapp"],
        ):
            ran = deployctl(*arguments)
            self.assertEqual((ran.code, ran.out), (2, ""), arguments)
            self.assertEqual(len(ran.error.splitlines()), 1, arguments)
            self.assertNotIn(CANARY, ran.error)
