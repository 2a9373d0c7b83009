"""What a delta makes piece by piece is what it would have made at once."""

from __future__ import annotations

import contextlib
import zlib

from dulwich.pack import apply_delta, create_delta
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.packs.deltas import delta_pieces, made_size
from deployd.git.problems import BadPack
from tests.git import forge

WORDS = st.lists(st.sampled_from([b"alpha ", b"beta ", b"gamma " * 50, bytes(300)]), max_size=40).map(b"".join)


class DeltaTests(SynchronousTestCase):
    def made(self, base: bytes, delta: bytes) -> bytes:
        return b"".join(bytes(piece) for piece in delta_pieces(base, delta))

    @given(WORDS, WORDS)
    def test_a_delta_makes_what_dulwich_makes(self, base: bytes, target: bytes) -> None:
        delta = b"".join(create_delta(base, target))
        self.assertEqual(self.made(base, delta), b"".join(apply_delta(base, delta)))

    @given(st.binary(max_size=40))
    def test_no_delta_does_anything_else(self, delta: bytes) -> None:
        """It makes what it says, or is refused."""
        with contextlib.suppress(BadPack):
            self.assertEqual(len(self.made(b"0123456789", forge.varint(10) + forge.varint(20) + delta)), 20)

    def test_a_delta_that_does_not_fit_is_refused(self) -> None:
        """Of another base, cut in a number, without an instruction, beyond its base, or of another length."""
        head = forge.varint(3) + forge.varint(4)
        for delta in (
            forge.varint(9) + forge.varint(4) + b"\x04abcd",
            forge.varint(3),
            b"\xff" * 12,
            head + b"\x91",
            head + b"\0",
            head + b"\x90\x04",
            head + b"\x04abc",
            head + b"\x03abc",
            head + b"\x05abcde",
        ):
            with self.subTest(delta=delta), self.assertRaises(BadPack):
                self.made(b"xyz", delta)
        self.assertEqual(self.made(b"xyz", head + b"\x91\x01\x02\x02ab"), b"yzab")

    def test_each_instruction_is_counted(self) -> None:
        spent: list[None] = []
        delta = forge.varint(1) + forge.varint(3) + b"\x01a" * 3
        list(delta_pieces(b"x", delta, lambda: spent.append(None)))
        self.assertEqual(len(spent), 3)

    def test_a_copy_of_64_kilobytes_has_no_length(self) -> None:
        base = bytes(range(256)) * 300
        delta = forge.varint(len(base)) + forge.varint(0x10000) + b"\x80"
        self.assertEqual(self.made(base, delta), base[:0x10000])

    def test_how_much_a_delta_makes_is_in_its_first_bytes(self) -> None:
        """They are deflated; a stream that ends before them is refused."""
        delta = zlib.compress(forge.varint(300) + forge.varint(70_000) + bytes(range(256)) * 9)
        self.assertEqual(made_size(delta, 0, len(delta)), 70_000)
        for spoiled in (delta[:3], b"not deflated"):
            with self.assertRaises(BadPack):
                made_size(spoiled, 0, len(spoiled))
