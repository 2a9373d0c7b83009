"""Times that only grow, on a clock that does not."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.keeper.stamps import Stamps


class StampTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.now = 1_000_000_000

    def stamps(self, newest: int = 0) -> Stamps:
        made = Stamps(self.path, newest, lambda: self.now * 1000)
        self.addCleanup(made.close)
        return made

    def test_a_stamp_is_the_time(self) -> None:
        self.assertEqual(self.stamps().next(), self.now)

    @given(st.lists(st.integers(0, 2**50), min_size=1))
    def test_they_grow_whatever_the_clock_does(self, times: list[int]) -> None:
        stamps = self.stamps()
        found = []
        for self.now in times:
            found.append(stamps.next())
        self.assertEqual(found, sorted(set(found)))

    def test_they_go_on_above_those_of_an_earlier_life(self) -> None:
        first = self.stamps()
        last = first.next()
        first.save()
        self.now -= 500_000
        self.assertGreater(self.stamps().next(), last)

    def test_they_go_on_above_what_is_on_disk(self) -> None:
        self.assertEqual(self.stamps(newest=2 * self.now).next(), 2 * self.now + 1)
