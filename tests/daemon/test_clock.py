"""The daemons' reactor runs on a clock that nobody sets."""

from __future__ import annotations

import time

from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.clock import monotonic


class MonotonicTests(SynchronousTestCase):
    def test_what_is_scheduled_is_due_by_the_monotonic_clock(self) -> None:
        reactor = SelectReactor()
        self.addCleanup(reactor.removeAll)
        call = monotonic(reactor).callLater(100, lambda: None)
        self.assertLess(abs(call.getTime() - time.monotonic() - 100), 5)
        self.assertGreater(abs(call.getTime() - time.time()), 1e6)
