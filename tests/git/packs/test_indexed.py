"""A pack is found in by its index, and what is wrong in it ends the reading."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import BLOB
from deployd.git.packs.indexed import IndexedPack
from deployd.git.problems import BadPack
from tests.git.packs.histories import repository
from tests.git.packs.stock import Entry, blob_id, store_pack

CONTENTS = [b"one\n" * 20, b"one\n" * 20 + b"two\n"]


class IndexedTests(SynchronousTestCase):
    def opened(self, *entries: Entry) -> IndexedPack:
        path = store_pack(repository(Path(self.mktemp())), entries, "1" * 40)
        pack = IndexedPack.open(path.with_suffix(".idx"))
        self.addCleanup(pack.close)
        return pack

    def test_each_entry_is_found_by_its_id(self) -> None:
        pack = self.opened(Entry(CONTENTS[0]), Entry(CONTENTS[1], 0))
        names = [blob_id(content) for content in CONTENTS]
        offsets = [pack.offset(name) for name in names]
        self.assertEqual(pack.entries(), list(zip(offsets, names, strict=True)))
        self.assertEqual([*pack.starting_with(names[1][:2])], [names[1]])
        self.assertEqual([pack.kind_and_size(offset) for offset in offsets], [(BLOB, len(c)) for c in CONTENTS])
        header = pack.header(offsets[0])
        self.assertEqual(b"".join(pack.pieces(header)), pack.inflated(header))
        self.assertEqual(pack.base(offsets[1], pack.header(offsets[1])), offsets[0])
        with self.assertRaises(KeyError):
            pack.offset(bytes(20))

    def test_a_delta_on_itself_ends_the_reading(self) -> None:
        pack = self.opened(Entry(CONTENTS[0], 0, by_id=True))
        with self.assertRaises(BadPack):
            pack.kind(pack.offset(blob_id(CONTENTS[0])))

    def test_a_pack_that_is_gone_is_not_read(self) -> None:
        """Its index tells still what was in it; one that was mapped before stays readable."""
        path = store_pack(repository(Path(self.mktemp())), [Entry(CONTENTS[0])], "1" * 40)
        index = path.with_suffix(".idx")
        with closing(IndexedPack.open(index)) as mapped, closing(IndexedPack.open(index)) as other:
            offset = mapped.offset(blob_id(CONTENTS[0]))
            self.assertEqual(mapped.kind(offset), BLOB)
            path.unlink()
            self.assertEqual(mapped.inflated(mapped.header(offset)), CONTENTS[0])
            with self.assertRaises(FileNotFoundError):
                other.kind(offset)
