"""The last words of an app."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.tail import Tail


def tail_of(data: bytes) -> str:
    tail = Tail()
    tail.write(data)
    return tail.text()


class TailTests(SynchronousTestCase):
    def test_keeps_the_last_fifty_lines(self) -> None:
        tail = Tail()
        for number in range(120):
            tail.write(f"line {number}\n".encode())
        self.assertEqual(tail.text().splitlines(), [f"line {number}" for number in range(70, 120)])

    def test_keeps_the_last_lines_of_one_big_write(self) -> None:
        data = b"".join(b"%d\n" % number for number in range(10000))
        self.assertEqual(tail_of(data).splitlines(), [str(number) for number in range(9950, 10000)])

    def test_a_line_comes_in_pieces(self) -> None:
        tail = Tail()
        for piece in (b"be", b"ep ", b"boop\nand", b" more"):
            tail.write(piece)
        self.assertEqual(tail.text(), "beep boop\nand more")

    def test_a_long_line_is_cut(self) -> None:
        lines = tail_of(b"x" * 5000 + b"\nend\n").splitlines()
        self.assertEqual(lines, ["x" * 2000 + " ...", "end"])

    def test_holds_little_of_a_line_without_end(self) -> None:
        tail = Tail()
        for _ in range(1000):
            tail.write(b"x" * 5000)
        self.assertLess(len(pickle.dumps(tail)), 4000)
        self.assertEqual(tail.text(), "x" * 2000 + " ...")

    def test_what_is_not_utf8_is_replaced(self) -> None:
        self.assertEqual(tail_of(b"caf\xe9 \xc3\xa9\n"), "caf\ufffd \u00e9")

    def test_colours_go_and_other_control_characters_are_spelled_out(self) -> None:
        """Nothing an app prints moves the cursor, rings or reorders text on the terminal that shows an error."""
        text = tail_of(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x07 \x1bc a\tb \xc2\x9b1m \xe2\x80\xaeback\r\n")
        self.assertEqual(text, "red \\x07 \\x1bc a\tb \\x9b1m \\u202eback")

    def test_clear_forgets(self) -> None:
        tail = Tail()
        tail.write(b"old\npartial")
        tail.clear()
        tail.write(b"new\n")
        self.assertEqual(tail.text(), "new")

    @given(st.lists(st.binary(max_size=5000), max_size=30), st.integers(1, 5), st.integers(10, 300))
    def test_is_bounded_and_safe_whatever_is_written(self, pieces: list[bytes], lines: int, size: int) -> None:
        tail = Tail(lines=lines, size=size, line=100)
        for piece in pieces:
            tail.write(piece)
        text = tail.text()
        self.assertLessEqual(len(text.encode()), size)
        self.assertLessEqual(text.count("\n") + 1, lines)
        self.assertFalse([char for char in text if ord(char) < 32 and char not in "\t\n"])

    @given(st.lists(st.sampled_from([b"a", b"bc\n", b"\n", b"d\ne\n", b"f" * 30]), max_size=40))
    def test_how_the_bytes_are_split_is_irrelevant(self, pieces: list[bytes]) -> None:
        tail = Tail(lines=5, size=100, line=20)
        for piece in pieces:
            tail.write(piece)
        whole = Tail(lines=5, size=100, line=20)
        whole.write(b"".join(pieces))
        self.assertEqual(tail.text(), whole.text())
