"""Pushes of which nothing may stay when they are refused."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.refs import read_refs
from tests.git.forge import ZERO, Hub

MASTER = "refs/heads/master"


class PushCase(SynchronousTestCase):
    """Pushes into one fresh app."""

    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))

    def refused(self, reason: str, pack: bytes, tip: str, ref: str | bytes = MASTER, old: str = ZERO) -> None:
        """Push and see the reason in the report, no ref moved, and no file more than before."""
        before, refs = self.hub.files(), read_refs(self.hub.path).values
        receipt = self.hub.push([(ref, old, tip)], pack)
        self.assertIn(reason.encode(), receipt.report)
        self.assertIn(b"ng ", receipt.report)
        self.assertEqual(receipt.updates, [])
        self.assertEqual(self.hub.files(), before)
        self.assertEqual(read_refs(self.hub.path).values, refs)
