"""Threads beside the reactor."""

from __future__ import annotations

import sys

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.threads import KEPT, Threads


class ThreadsTests(SynchronousTestCase):
    def test_one_that_computes_gives_way_within_a_millisecond(self) -> None:
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1.0)
        Threads(MemoryReactorClock(), "some", 1).start()
        self.assertAlmostEqual(sys.getswitchinterval(), KEPT, places=5)
        self.assertLess(KEPT, 0.001)
