"""When somebody has to look again."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.hub.alarm import Alarm


class AlarmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[float] = []
        self.alarm = Alarm(self.clock, lambda: self.looks.append(self.clock.seconds()))

    def test_it_goes_off_once_at_the_moment_that_was_set_last(self) -> None:
        self.alarm.set(2)
        self.alarm.set(5)
        self.clock.pump([1] * 10)
        self.assertEqual(self.looks, [5])

    def test_one_that_is_past_goes_off_in_the_next_turn(self) -> None:
        self.clock.advance(9)
        self.alarm.set(3)
        self.assertEqual(self.looks, [])
        self.clock.advance(0)
        self.assertEqual(self.looks, [9])

    def test_set_to_none_it_never_goes_off(self) -> None:
        self.alarm.set(2)
        self.alarm.set(None)
        self.clock.advance(9)
        self.assertEqual((self.looks, self.clock.getDelayedCalls()), ([], []))
