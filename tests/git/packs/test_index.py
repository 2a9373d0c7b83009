"""An index is what git's own would be."""

from __future__ import annotations

import io

from dulwich.objects import RawObjectID
from dulwich.pack import write_pack_index_v2
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.packs.index import IndexRows, entry_checks, write_index


class IndexTests(SynchronousTestCase):
    """Rows in, an index out."""

    @given(
        st.dictionaries(
            st.binary(min_size=20, max_size=20), st.tuples(st.integers(12, 1 << 35), st.integers(0, 2**32 - 1))
        )
    )
    def test_as_dulwich_writes_it(self, entries: dict[bytes, tuple[int, int]]) -> None:
        """Byte for byte, however far the objects are from the beginning."""
        rows = sorted((offset, name, check) for name, (offset, check) in entries.items())
        names, offsets, checks = ([row[column] for row in rows] for column in (1, 0, 2))
        own, others = io.BytesIO(), io.BytesIO()
        write_index(own, IndexRows.of(names, offsets, checks), b"t" * 20)
        write_pack_index_v2(
            others, sorted((RawObjectID(name), offset, check) for offset, name, check in rows), b"t" * 20
        )
        self.assertEqual(own.getvalue(), others.getvalue())

    def test_checks(self) -> None:
        """One for each entry."""
        self.assertEqual(entry_checks(b"..123456789\0", [2, 11, 12]).tolist(), [0xCBF43926, 0xD202EF8D])
