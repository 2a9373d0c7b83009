"""How far a check is, said seldom."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.receiving.progress import PATIENCE, Progress


class ProgressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.said = Clock(), list[str]()
        self.progress = Progress(self.said.append, self.clock.seconds)

    def test_what_is_soon_done_says_nothing(self) -> None:
        step = self.progress.of("Checking objects", 100)
        step(0)
        step(100)
        self.assertEqual(self.said, [])

    def test_a_long_stage_is_told_now_and_then_and_to_its_end(self) -> None:
        """Twice a second at most; the last text ends the line."""
        step = self.progress.of("Checking objects", 2000)
        self.clock.advance(PATIENCE)
        for done in (500, 501, 502):
            step(done)
        self.clock.advance(0.5)
        step(1500)
        step(2000)
        self.assertEqual(
            self.said,
            [
                "Checking objects:  25% (500/2000)\r",
                "Checking objects:  75% (1500/2000)\r",
                "Checking objects: 100% (2000/2000), done.\n",
            ],
        )

    def test_a_stage_of_nothing_is_no_stage(self) -> None:
        self.clock.advance(PATIENCE)
        self.progress.of("Resolving deltas", 0)(0)
        self.assertEqual(self.said, [])

    def test_who_does_not_want_it_is_told_nothing(self) -> None:
        self.clock.advance(PATIENCE)
        Progress(None, self.clock.seconds).of("Checking objects", 9)(1)
