"""When an app has used more than it may, and how that is said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.role import Limits
from deployd.planning.excess import WORTH, bytes_text, excess, greediest

M = 1 << 20


class ExcessTests(SynchronousTestCase):
    def test_what_is_not_limited_is_never_too_much(self) -> None:
        self.assertEqual(excess(Limits(), 1 << 50, 1 << 50, 1 << 50), "")

    def test_a_limit_may_be_used_up(self) -> None:
        self.assertEqual(excess(Limits(memory=M, processes=3, disk=M), M, 3, M), "")

    def test_what_is_beyond_it_is_said(self) -> None:
        limits = Limits(memory=64 * M, processes=3, disk=1 << 30)
        self.assertEqual(excess(limits, memory=70 * M), "used 70M of memory, more than its 64M")
        self.assertEqual(excess(limits, processes=4), "had 4 processes, more than its 3")
        self.assertEqual(excess(limits, disk=2 << 30), "has 2G on the disk, more than its 1G")

    def test_bytes_are_said_as_they_are_written(self) -> None:
        for size, text in ((64 * M, "64M"), (1 << 30, "1G"), (1536 * M, "1536M"), (64 * M + 4096, "64M"), (2048, "0M")):
            self.assertEqual(bytes_text(size), text)


class GreediestTests(SynchronousTestCase):
    def test_nobody_goes_where_nobody_has_written_much(self) -> None:
        self.assertIsNone(greediest({}))
        self.assertIsNone(greediest({"a": WORTH - 1, "b": 0}))

    @given(st.dictionaries(st.text(max_size=3), st.integers(0, 2 * WORTH)))
    def test_whoever_goes_has_written_most(self, written: dict[str, int]) -> None:
        worst = greediest(written)
        if worst is not None:
            self.assertEqual(written[worst], max(written.values()))
        else:
            self.assertTrue(all(size < WORTH for size in written.values()))
