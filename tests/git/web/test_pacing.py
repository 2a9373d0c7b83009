"""Many who write, a few of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.web.pacing import Pacer


class Turns:
    """A reactor's: what is called soon is called in the next one, not in this, as Clock would."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def callLater(self, seconds: float, call: Callable[[], object]) -> object:
        self.soon.append(call)
        return call

    def turn(self) -> bool:
        now, self.soon = self.soon, []
        for call in now:
            call()
        return bool(now)


class PacerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.turns = Turns()
        clock: Any = self.turns
        self.pacer = Pacer(clock, at_once=3)
        self.written: list[int] = []

    def write(self, number: int) -> None:
        self.pacer.admit(lambda: self.written.append(number))

    def test_a_few_write_at_once(self) -> None:
        for number in range(3):
            self.write(number)
        self.assertEqual(self.written, [0, 1, 2])
        self.assertEqual(self.turns.soon, [])

    def test_others_have_their_turns_in_order(self) -> None:
        for number in range(8):
            self.write(number)
        sizes = [len(self.written)]
        while self.turns.turn():
            sizes.append(len(self.written))
        self.assertEqual(sizes, [3, 6, 8])
        self.assertEqual(self.written, list(range(8)))

    def test_who_comes_later_does_not_overtake(self) -> None:
        for number in range(4):
            self.write(number)
        self.turns.turn()
        self.write(4)
        self.write(5)
        self.write(6)
        self.assertEqual(self.written, [0, 1, 2, 3, 4, 5])
        self.turns.turn()
        self.assertEqual(self.written, list(range(7)))

    def test_who_writes_on_waits_behind_the_others(self) -> None:
        def again(number: int) -> None:
            self.written.append(number)
            if number < 10:
                self.pacer.admit(lambda: again(number + 10))

        for number in range(4):
            self.pacer.admit(lambda number=number: again(number))
        while self.turns.turn():
            pass
        self.assertEqual(sorted(self.written), [0, 1, 2, 3, 10, 11, 12, 13])
        self.assertLess(self.written.index(3), self.written.index(13))

    def test_one_that_fails_keeps_nobody_from_writing(self) -> None:
        def fail() -> None:
            raise ValueError

        for number in range(3):
            self.write(number)
        self.pacer.admit(fail)
        self.write(3)
        self.assertRaises(ValueError, self.turns.turn)
        self.turns.turn()
        self.assertEqual(self.written, [0, 1, 2, 3])
