"""Wrong credentials are answered ever later."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy
from deployd.git.web.guesses import FIRST, FORGOTTEN, MAX_ADDRESSES, WAITING_OF_ONE, Guesses

LONGEST = 5.0
MOST = 100


class GuessesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guesses = Guesses(self.clock, LONGEST, MOST)

    def guess(self, host: str = "192.0.2.1") -> Deferred[None]:
        return Deferred.fromCoroutine(self.guesses.put_off(host))

    def delay(self, host: str = "192.0.2.1") -> float:
        """How long one guess waits."""
        waiting, begun = self.guess(host), self.clock.seconds()
        while not waiting.called:
            self.clock.advance(FIRST)
        self.successResultOf(waiting)
        return self.clock.seconds() - begun

    def test_each_waits_longer_up_to_a_bound(self) -> None:
        self.assertEqual([self.delay() for _ in range(7)], [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0])

    def test_those_at_once_do_too(self) -> None:
        waiting = [self.guess() for _ in range(4)]
        self.clock.advance(0.5)
        self.assertEqual([each.called for each in waiting], [True, True, False, False])
        self.assertEqual(self.guesses.waiting, 2)

    def test_an_address_that_rests_begins_anew(self) -> None:
        self.delay()
        self.delay()
        self.clock.advance(FORGOTTEN)
        self.assertEqual(self.delay(), FIRST)

    def test_addresses_are_told_apart_as_machines_have_them(self) -> None:
        for same in (
            ("192.0.2.1", "::ffff:192.0.2.1"),
            ("2001:db8::1", "2001:db8::ffff:1"),
            ("fe80::1%eth0", "fe80::2"),
        ):
            self.assertEqual([self.delay(host) for host in same], [0.25, 0.5])
        for other in ("192.0.2.2", "2001:db8:0:1::1", "", "/a/socket"):
            self.assertEqual(self.delay(other), 0.25)

    def test_the_table_is_bounded_and_the_oldest_go(self) -> None:
        for number in range(MAX_ADDRESSES + 10):
            self.guess(f"10.0.{number >> 8}.{number & 255}").addErrback(lambda _: None)
        self.assertEqual(len(self.guesses), MAX_ADDRESSES)

    def test_of_those_that_wait_few_are_of_one_and_all_are_bounded(self) -> None:
        for _ in range(WAITING_OF_ONE):
            self.guess()
        self.failureResultOf(self.guess(), Busy)
        for number in range(MOST - WAITING_OF_ONE):
            self.assertNoResult(self.guess(f"10.0.0.{number}"))
        self.failureResultOf(self.guess("10.0.1.1"), Busy)
        self.clock.advance(LONGEST)
        self.assertNoResult(self.guess("10.0.1.2"))
        self.assertNoResult(self.guess())

    def test_one_that_leaves_makes_room(self) -> None:
        waiting = [self.guess() for _ in range(WAITING_OF_ONE)]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.assertNoResult(self.guess())
