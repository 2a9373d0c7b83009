"""The room that the bodies of requests have."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.web.spool import Spool


class SpoolTests(SynchronousTestCase):
    def test_all_bodies_together_are_bounded_and_give_their_room_back_once(self) -> None:
        """Long ones, which are on the disk, and short ones."""
        spool = Spool(".", 300_000, self.fail)
        long, short = spool.open(), spool.open()
        long.write(b"x" * 200_000)
        short.write(b"x" * 100_000)
        error = self.assertRaises(OSError, short.write, b"x")
        self.assertEqual((error.errno, spool.used), (errno.EDQUOT, 300_000))
        for _ in range(2):
            long.close()
        short.write(b"x" * 200_000)
        short.seek(0)
        self.assertEqual((len(short.read()), spool.used), (300_000, 300_000))
        short.close()
        self.assertEqual(spool.used, 0)

    def test_a_large_one_is_closed_in_a_thread_and_once(self) -> None:
        closing: list[Callable[[], object]] = []
        spool = Spool(".", 1 << 30, closing.append)
        large = spool.open()
        large.write(b"x" * (2 << 20))
        for _ in range(2):
            large.close()
        self.assertEqual((len(closing), spool.used), (1, 0))
        closing[0]()
        self.assertTrue(large.closed)

    @skipIf(not Path("/dev/full").exists(), "needs /dev/full")
    def test_that_there_is_no_room_for_the_rest_of_it_makes_no_difference(self) -> None:
        body = Spool(".", 1 << 30, self.fail).open()
        with Path("/dev/full").open("wb") as full:
            body.rollover()
            os.dup2(full.fileno(), body.fileno())
        body.write(b"x" * 1000)
        self.assertRaises(OSError, body.flush)
        body.close()
