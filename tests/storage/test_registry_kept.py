"""Which changes of the registry's log are needed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.row_change import RowChange
from deployd.storage.registry_kept import STEP, Kept
from tests.registry.rows import row


class KeptTests(SynchronousTestCase):
    def test_what_a_kill_has_left_below_the_floor_goes(self) -> None:
        """The floor had risen when the process was killed, and not all below it was deleted."""
        kept = Kept(2 * STEP + 1, 10, 10_000)
        kept.add(RowChange(1, row("stays")), 100)
        for number in range(2, 2 * STEP + 1, 2):
            kept.add(RowChange(number, row(str(number))), 100)
            kept.add(RowChange(number + 1, row(str(number)), freed=True), 100)
        gone = kept.dead
        kept.deleted(len(gone))
        gone += kept.dead
        self.assertEqual(sorted(gone), list(range(2, 2 * STEP + 2)))
