"""What a mirror holds is read whole, however large it is and whatever deltas it is made of, or found to be damaged."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from deployd.git.kinds import BLOB
from deployd.git.mirror import reading
from deployd.git.mirror.reading import Damaged, MirrorReader
from tests.git.forge import append_delta, object_id, ofs_delta, varint, whole
from tests.git.mirror.mirrors import MirrorTestCase, put


def copying(base: bytes, start: int, length: int) -> bytes:
    """A delta that takes a piece out of ``base``."""
    numbers = start.to_bytes(4, "little") + length.to_bytes(3, "little")
    bits = [bit for bit, byte in enumerate(numbers) if byte]
    code = bytes([0x80 | sum(1 << bit for bit in bits)]) + bytes(numbers[bit] for bit in bits)
    return varint(len(base)) + varint(length) + code


class ReadingTests(MirrorTestCase):
    def chain(self, *contents: bytes) -> list[tuple[str, bytes]]:
        """Entries of blobs, each but the first a delta that appends to the one before."""
        entries = [(object_id(BLOB, contents[0]), whole(BLOB, contents[0]))]
        for base, content in itertools.pairwise(contents):
            entry = ofs_delta(len(entries[-1][1]), append_delta(base, content[len(base) :]))
            entries.append((object_id(BLOB, content), entry))
        return entries

    def test_deltas_of_deltas_are_unfolded(self) -> None:
        contents = [b"one\n", b"one\ntwo\n", b"one\ntwo\nthree\n"]
        put(self.mirror, self.chain(*contents))
        with MirrorReader(self.mirror / "objects") as reader:
            for content in reversed(contents):
                place = reader.place(bytes.fromhex(object_id(BLOB, content)))
                self.assertEqual(reader.kind_and_size(place), (BLOB, len(content)))
                self.assertEqual(reader.read(place), (BLOB, content))
                self.assertEqual(b"".join(map(bytes, reader.pieces(place))), content)

    def test_a_large_one_comes_in_pieces_also_as_a_delta_of_a_delta(self) -> None:
        base = random.Random(1).randbytes(1000) * 6000
        middle, last = base[1000:], base[70_000:5_900_000]
        entries = [(object_id(BLOB, base), whole(BLOB, base))]
        for content, delta in ((middle, copying(base, 1000, len(middle))), (last, copying(middle, 69_000, len(last)))):
            entries.append((object_id(BLOB, content), ofs_delta(len(entries[-1][1]), delta)))
        put(self.mirror, entries)
        with MirrorReader(self.mirror / "objects") as reader:
            for content in (base, middle, last):
                place = reader.place(bytes.fromhex(object_id(BLOB, content)))
                self.assertEqual(reader.kind_and_size(place), (BLOB, len(content)))
                pieces = [bytes(piece) for piece in reader.pieces(place)]
                self.assertEqual(b"".join(pieces), content)
        self.assertEqual(list((self.mirror / "objects").glob("tmp*")), [])

    def test_what_was_read_lately_is_kept_within_a_bound(self) -> None:
        contents = [bytes([number]) * (1 << 20) for number in range(40)]
        put(self.mirror, [(object_id(BLOB, content), whole(BLOB, content)) for content in contents])
        with MirrorReader(self.mirror / "objects") as reader:
            for content in contents:
                reader.read(reader.place(bytes.fromhex(object_id(BLOB, content))))
            self.assertLessEqual(reader._cached, reading.CACHE_BYTES)
            self.assertEqual(reader._cached, sum(len(content) for _, content in reader._cache.values()))

    def test_what_is_not_there_is_a_key_error(self) -> None:
        with MirrorReader(self.mirror / "objects") as reader, self.assertRaises(KeyError):
            reader.place(bytes(20))

    @given(st.data())
    def test_damage_anywhere_is_seen_or_harmless(self, data: st.DataObject) -> None:
        """Never another error, never another content."""
        contents = [b"one\n" * 20, b"one\n" * 20 + b"two\n"]
        path = put(self.mirror, self.chain(*contents))
        target = data.draw(st.sampled_from([path, path.with_suffix(".idx")]))
        right = target.read_bytes()
        content = bytearray(right)
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        target.write_bytes(content)
        try:
            with MirrorReader(self.mirror / "objects") as reader:
                for content in contents:
                    place = reader.place(bytes.fromhex(object_id(BLOB, content)))
                    reader.kind_and_size(place)
                    kind, read = reader.read(place)
                    if kind == BLOB:
                        self.assertIn(read, contents)
                    b"".join(map(bytes, reader.pieces(place)))
        except (Damaged, KeyError):
            return

    def test_a_pack_that_is_gone_is_damage(self) -> None:
        put(self.mirror, self.chain(b"x")).unlink()
        with self.assertRaises(Damaged), MirrorReader(self.mirror / "objects"):
            pass
