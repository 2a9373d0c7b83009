"""The wait before a restart, and when there is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.planning.restarts import LONGEST, STEADY, Past, delay

jitters = st.floats(0, 1)
falls = st.lists(st.tuples(st.floats(0, 200), st.booleans()), max_size=80)


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


class PastTests(SynchronousTestCase):
    def test_grows_while_it_never_stays_ready(self) -> None:
        self.assertEqual(Past().after(0, ours=False), Past(1, 1))
        self.assertEqual(Past(4, 2).after(STEADY - 1, ours=False), Past(5, 3))

    def test_starts_anew_after_a_steady_minute(self) -> None:
        self.assertEqual(Past(9, 9).after(STEADY, ours=False), Past(1, 1))

    def test_what_is_ours_waits_longer_but_is_no_fault(self) -> None:
        self.assertEqual(Past(4, 2).after(0, ours=True), Past(5, 2))

    def test_what_will_hardly_go_better_waits_for_a_minute_at_once(self) -> None:
        self.assertEqual((Past(1).pause(True, 0), Past(1).pause(False, 0)), (LONGEST, 0.5))

    @given(st.integers(1, 50), falls)
    def test_is_hopeless_once_so_many_faults_follow_each_other(
        self, give_up: int, ends: list[tuple[float, bool]]
    ) -> None:
        past, row = Past(), 0
        for ready_for, ours in ends:
            past = past.after(ready_for, ours)
            row = (0 if ready_for >= STEADY else row) + (not ours)
            self.assertEqual(past.hopeless(give_up), row >= give_up)
            self.assertLessEqual(past.faults, past.falls)

    @given(falls)
    def test_is_never_hopeless_when_nobody_wants_to_give_up(self, ends: list[tuple[float, bool]]) -> None:
        past = Past()
        for ready_for, ours in ends:
            past = past.after(ready_for, ours)
        self.assertFalse(past.hopeless(0))
