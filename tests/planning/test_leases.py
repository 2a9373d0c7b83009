"""Which owners' rows fall, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.planning.leases import Leases

timeouts = st.floats(0.1, 1e4)
owners = st.sampled_from("abcdef")
# Who is lost (or kept, where it is False) after so many seconds more.
steps = st.lists(st.tuples(owners, st.booleans(), st.floats(0, 1e4)), max_size=30)
Steps = list[tuple[str, bool, float]]


def after(done: Steps) -> tuple[Leases, dict[str, float], float]:
    """The leases, the same as a dict, and what time it is."""
    leases, away, now = Leases(), {}, 0.0
    for owner, lost, passed in done:
        now += passed
        if lost:
            leases.lose(owner, now)
            away[owner] = now
        else:
            assert leases.keep(owner) == away.pop(owner, None)
    return leases, away, now


class LeaseTests(SynchronousTestCase):
    def test_an_owner_falls_once_it_was_away_for_the_timeout(self) -> None:
        leases = Leases()
        leases.lose("a", 100.0)
        leases.lose("b", 110.0)
        self.assertEqual(leases.due(144.9, 45), [])
        self.assertEqual(leases.due(145.0, 45), ["a"])
        self.assertEqual(leases.due(1e9, 45), ["a", "b"])
        self.assertEqual(leases.next_fall(45), 145.0)

    def test_whoever_is_lost_anew_has_all_its_time_again(self) -> None:
        leases = Leases()
        for owner, now in (("a", 100.0), ("b", 110.0), ("a", 120.0)):
            leases.lose(owner, now)
        self.assertEqual((leases.next_fall(45), leases.due(160.0, 45), len(leases)), (155.0, ["b"], 2))

    @given(steps, timeouts, st.floats(0, 1e5))
    def test_only_those_fall_that_are_away_and_long_enough(self, done: Steps, timeout: float, later: float) -> None:
        leases, away, now = after(done)
        due = [owner for owner, since in away.items() if since + timeout <= now + later]
        self.assertEqual(set(leases.due(now + later, timeout)), set(due))
        self.assertEqual([owner for owner in "abcdef" if leases.is_due(owner, now + later, timeout)], sorted(due))
        self.assertEqual([owner for owner in "abcdef" if owner in leases], sorted(away))

    @given(steps, timeouts)
    def test_somebody_falls_at_the_next_fall_and_nobody_before(self, done: Steps, timeout: float) -> None:
        leases, away, _ = after(done)
        at = leases.next_fall(timeout)
        self.assertEqual(at is None, not away)
        if at is not None:
            self.assertNotEqual(leases.due(at, timeout), [])
            self.assertEqual(leases.due(at - 0.01, timeout), [])

    @given(steps, timeouts)
    def test_those_whose_fall_came_to_nothing_are_away_as_before(self, done: Steps, timeout: float) -> None:
        leases, away, now = after(done)
        fallen = {owner: since for owner in leases.due(now, timeout) if (since := leases.keep(owner)) is not None}
        leases.lose_again(fallen)
        # Those who were lost at the same time come in any order.
        self.assertEqual([away[owner] for owner in leases.due(1e9, 0.0)], sorted(away.values()))
