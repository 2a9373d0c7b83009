"""The number that an instance's processes bear."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.marks import mark


class MarkTests(SynchronousTestCase):
    @given(st.text(max_size=40))
    def test_a_mark_fits_a_limit_and_harms_nobody(self, instance: str) -> None:
        """Microseconds: the smallest is worth more than 100,000 years; the kernel's limits end at 2**63."""
        self.assertTrue(2**62 <= mark(instance) < 2**63)

    def test_marks_differ_and_stay(self) -> None:
        marks = {mark(f"http-{number}") for number in range(1000)}
        self.assertEqual(len(marks), 1000)
        self.assertEqual(mark("http-1"), mark("http-1"))

    def test_a_mark_is_the_same_in_every_version(self) -> None:
        """What an earlier version started must be found by a later one."""
        self.assertEqual(mark("http-0123456789"), 0x49C6BAA1CCF03440)
