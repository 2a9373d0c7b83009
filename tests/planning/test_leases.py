"""Which owners' rows fall, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.planning.leases import Lease, fallen, next_fall

times = st.floats(0, 1e6)
timeouts = st.floats(0.1, 1e4)
leases = st.lists(
    st.builds(Lease, st.text("abcdef", min_size=1, max_size=4), st.none() | times),
    max_size=20,
    unique_by=lambda lease: lease.owner,
)


class LeaseTests(SynchronousTestCase):
    def test_an_owner_falls_once_it_was_away_for_the_timeout(self) -> None:
        away = [Lease("a", 100.0), Lease("b", 110.0), Lease("c")]
        self.assertEqual(fallen(away, 144.9, 45), ())
        self.assertEqual(fallen(away, 145.0, 45), ("a",))
        self.assertEqual(fallen(away, 1e9, 45), ("a", "b"))
        self.assertEqual(next_fall(away, 45), 145.0)

    @given(leases, times, timeouts)
    def test_only_those_fall_that_are_away_and_long_enough(self, held: list[Lease], now: float, timeout: float) -> None:
        down = fallen(held, now, timeout)
        for lease in held:
            away = lease.lost_at is not None and lease.lost_at + timeout <= now
            self.assertEqual(lease.owner in down, away)

    @given(leases, times, timeouts)
    def test_the_order_of_leases_is_irrelevant(self, held: list[Lease], now: float, timeout: float) -> None:
        self.assertEqual(fallen(held, now, timeout), fallen(reversed(held), now, timeout))
        self.assertEqual(next_fall(held, timeout), next_fall(reversed(held), timeout))

    @given(leases, times, times, timeouts)
    def test_who_has_fallen_does_not_rise_with_time(
        self, held: list[Lease], now: float, later: float, timeout: float
    ) -> None:
        self.assertLessEqual(set(fallen(held, now, timeout)), set(fallen(held, now + later, timeout)))

    @given(leases, timeouts)
    def test_somebody_falls_at_the_next_fall_and_nobody_before(self, held: list[Lease], timeout: float) -> None:
        at = next_fall(held, timeout)
        if at is None:
            self.assertEqual(fallen(held, 1e12, timeout), ())
        else:
            self.assertNotEqual(fallen(held, at, timeout), ())
            self.assertEqual(fallen(held, at - 0.001, timeout), ())
