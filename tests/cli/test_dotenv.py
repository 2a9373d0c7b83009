"""Files of variables, read and written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli import dotenv
from deployd.model.invalid import Invalid

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("PORT", "HOST", "COMMIT", "RELEASE", "REPO", "ROLE")
)
VALUES = st.text(st.one_of(st.sampled_from("\n\r\t\"'\\#$= a"), st.characters(codec="utf-8", exclude_characters="\0")))


def read(text: str) -> dict[str, str]:
    return dotenv.read(text, ".env")


class ReadTests(SynchronousTestCase):
    def test_takes_what_such_files_usually_have(self) -> None:
        text = """
# a comment
A=1
export B = two words   # and a comment
C="a \\"quoted\\" \\$one\\nof two lines" # comment
D='as it is: \\n $x # no comment'
E=
F= # nothing
COLOR=#fff
URL=postgres://u:p#w@db/x?a=b
   G="first
second"
H=it's
"""
        self.assertEqual(
            read(text),
            {
                "A": "1",
                "B": "two words",
                "C": 'a "quoted" $one\nof two lines',
                "D": "as it is: \\n $x # no comment",
                "E": "",
                "F": "",
                "COLOR": "#fff",
                "URL": "postgres://u:p#w@db/x?a=b",
                "G": "first\nsecond",
                "H": "it's",
            },
        )

    def test_takes_lines_that_end_as_on_windows(self) -> None:
        self.assertEqual(read('A=1\r\nB="x\r\ny"\r\n'), {"A": "1", "B": "x\ny"})

    def test_names_the_line_that_is_wrong_and_nothing_of_it(self) -> None:
        for text, problem in (
            ("A=1\nsecret", "line 2 is no NAME=VALUE"),
            ("A=1\n\n1A=secret", "line 3 is no NAME=VALUE"),
            ("A=1\nexport secret", "line 2 is no NAME=VALUE"),
            ("A=1\nA=secret", "line 2 sets A for the second time"),
            ("A='1\n'\nB='secret\n\n", "line 3 has a quote that is never closed"),
            ('A="secret', "line 1 has a quote that is never closed"),
            ('A="1"secret', "line 1 has something behind the closing quote"),
            ("A=1\nPORT=secret", "line 2: PORT is what deployd itself says"),
        ):
            with self.assertRaises(Invalid) as caught:
                read(text)
            self.assertIn(f".env, {problem}", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))

    @given(st.dictionaries(NAMES, VALUES))
    def test_reads_what_it_has_written(self, values: dict[str, str]) -> None:
        self.assertEqual(read(dotenv.written(values)), values)

    @given(st.text(st.sampled_from("AB= \t\n\"'\\#$")))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            read(text)
        except Invalid as error:
            self.assertIn(".env, line ", str(error))
