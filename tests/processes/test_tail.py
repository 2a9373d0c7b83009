"""The last words of an app."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.tail import last_lines


class LastLinesTests(SynchronousTestCase):
    def test_are_fifty(self) -> None:
        data = b"".join(b"%d\n" % number for number in range(10000))
        self.assertEqual(last_lines(data).splitlines(), [str(number) for number in range(9950, 10000)])

    def test_the_last_one_may_have_no_end(self) -> None:
        self.assertEqual(last_lines(b"beep boop\nand more"), "beep boop\nand more")
        self.assertEqual(last_lines(b""), "")

    def test_a_long_line_is_cut(self) -> None:
        lines = last_lines(b"x" * 5000 + b"\nend\n").splitlines()
        self.assertEqual(lines, ["x" * 2000 + " ...", "end"])

    def test_what_is_not_utf8_is_replaced(self) -> None:
        self.assertEqual(last_lines(b"caf\xe9 \xc3\xa9\n"), "caf\ufffd \u00e9")

    def test_colours_go_and_other_control_characters_are_spelled_out(self) -> None:
        """Nothing an app prints moves the cursor, rings or reorders text on the terminal that shows an error."""
        text = last_lines(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x07 \x1bc a\tb \xc2\x9b1m \xe2\x80\xaeback\r\n")
        self.assertEqual(text, "red \\x07 \\x1bc a\tb \\x9b1m \\u202eback")

    @given(st.binary(max_size=5000), st.integers(1, 5), st.integers(10, 300))
    def test_are_bounded_and_safe_whatever_is_written(self, output: bytes, lines: int, size: int) -> None:
        text = last_lines(output, lines, size, line=100)
        self.assertLessEqual(len(text.encode()), size)
        self.assertLessEqual(text.count("\n") + 1, lines)
        self.assertFalse([char for char in text if ord(char) < 32 and char not in "\t\n"])
