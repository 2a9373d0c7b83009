"""How long a target that fails stays out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.planning.ejection import FIRST, LONGEST, Trouble, out_for

times = st.floats(0, 1e6)


class EjectionTests(SynchronousTestCase):
    def test_the_first_failure_takes_it_out_for_a_second(self) -> None:
        self.assertEqual(Trouble().after_failure(100.0), Trouble(1, 100.0 + FIRST))

    def test_each_further_one_takes_it_out_for_twice_as_long_up_to_half_a_minute(self) -> None:
        self.assertEqual([out_for(count) for count in range(8)], [0, 1, 2, 4, 8, 16, LONGEST, LONGEST])
        self.assertEqual(out_for(10**9), LONGEST)

    @settings(deadline=None)
    @given(st.integers(0, 20), times, st.floats(0, 0.999))
    def test_what_fails_while_it_is_out_belongs_to_the_same_trouble(
        self, failures: int, now: float, later: float
    ) -> None:
        out = Trouble(failures, now).after_failure(now)
        self.assertEqual(out.failures, failures + 1)
        self.assertIs(out.after_failure(now + later * out_for(1)), out)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 400).map(lambda quarters: quarters / 4), max_size=30))
    def test_it_is_never_out_for_longer_than_half_a_minute_after_a_failure(self, gaps: list[float]) -> None:
        trouble, now = Trouble(), 0.0
        for gap in gaps:
            now += gap
            trouble = trouble.after_failure(now)
            self.assertGreater(trouble.until, now)
            self.assertLessEqual(trouble.until - now, LONGEST)
