"""The wait before a restart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.planning.restarts import LONGEST, STEADY, delay, failures_after

jitters = st.floats(0, 1)


class DelayTests(SynchronousTestCase):
    def test_doubles_from_half_a_second_to_a_minute(self) -> None:
        """Without jitter: 0.5, 1, 2 ... 32, then 60 for ever."""
        self.assertEqual([delay(n, 0) for n in range(1, 10)], [0.5, 1, 2, 4, 8, 16, 32, 60, 60])

    def test_is_nothing_without_a_failure(self) -> None:
        self.assertEqual(delay(0, 0.5), 0)

    @given(st.integers(1, 10**9), jitters)
    def test_jitter_takes_off_a_fifth_at_most(self, failures: int, jitter: float) -> None:
        self.assertLessEqual(delay(failures, jitter), delay(failures, 0))
        self.assertGreaterEqual(delay(failures, jitter), delay(failures, 0) * 0.8 - 1e-9)

    @given(st.integers(1, 10**9), jitters)
    def test_never_passes_the_longest(self, failures: int, jitter: float) -> None:
        self.assertLessEqual(delay(failures, jitter), LONGEST)
        self.assertGreater(delay(failures, jitter), 0)

    @given(st.integers(1, 100))
    def test_never_shrinks_as_failures_grow(self, failures: int) -> None:
        self.assertLessEqual(delay(failures, 0), delay(failures + 1, 0))


class FailuresTests(SynchronousTestCase):
    def test_grow_while_it_never_stays_ready(self) -> None:
        self.assertEqual(failures_after(0, 0), 1)
        self.assertEqual(failures_after(4, STEADY - 1), 5)

    def test_start_anew_after_a_steady_minute(self) -> None:
        self.assertEqual(failures_after(9, STEADY), 1)
