"""Work in several processes ends as if one had done it, and leaves none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.git.mirror.parts import in_parts


class PartsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.top.mkdir()

        self.children = psutil.Process().children()

    def tearDown(self) -> None:
        self.assertEqual(psutil.Process().children(), self.children)

    def test_each_part_is_done_once(self) -> None:
        in_parts(lambda part: (self.top / str(part)).touch(exist_ok=False), 3)
        self.assertEqual(sorted(path.name for path in self.top.iterdir()), ["0", "1", "2"])

    def test_what_any_of_them_raises_is_raised(self) -> None:
        for failing in range(3):

            def work(part: int, failing: int = failing) -> None:
                if part == failing:
                    raise Refused(f"part {part} may not be")

            with self.assertRaisesRegex(Refused, f"part {failing} may not be"):
                in_parts(work, 3)

    def test_one_that_is_killed_is_an_error(self) -> None:
        def work(part: int) -> None:
            if part:
                os.kill(os.getpid(), signal.SIGKILL)

        with self.assertRaises(ChildProcessError):
            in_parts(work, 2)

    def test_a_failure_here_ends_the_others(self) -> None:
        def work(part: int) -> None:
            if part:
                signal.pause()
            raise OSError("here")

        with self.assertRaisesRegex(OSError, "here"):
            in_parts(work, 2)
