"""--since T."""

from __future__ import annotations

from datetime import datetime

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.since import since
from deployd.model.invalid import Invalid

NOW = 1_795_687_200.0


class SinceTests(SynchronousTestCase):
    def test_is_so_long_ago(self) -> None:
        self.assertEqual([NOW - since(text, NOW) for text in ("90s", "10m", "2h", "7d")], [90, 600, 7200, 7 * 86400])

    def test_or_a_time(self) -> None:
        for text in ("2026-11-26T10:00:00Z", "2026-11-26T11:00:00+01:00", "1795687200", "1795687200.0"):
            self.assertEqual(since(text, 0.0), NOW)
        self.assertEqual(since("2026-11-26", 0.0), datetime(2026, 11, 26).timestamp())

    def test_nothing_else(self) -> None:
        for text in ("yesterday", "-1", "9" * 30, "10x", "99999999999d", "2026-13-01", ""):
            self.assertRaisesRegex(Invalid, "since", since, text, NOW)
