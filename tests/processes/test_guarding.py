"""What a guard has been told; that it guards is seen end to end (tests/e2e/test_register.py)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.forest import ProcessRef
from deployd.processes.guarding import _session as session


class ToldTests(SynchronousTestCase):
    def test_the_last_session_that_was_told_whole_counts(self) -> None:
        self.assertIsNone(session(b""))
        self.assertIsNone(session(b"12 boot:3"))
        self.assertEqual(session(b"12 boot:3\n"), ProcessRef(12, "boot:3"))
        self.assertEqual(session(b"12 boot:3\n14 boot:5\n16 bo"), ProcessRef(14, "boot:5"))

    def test_what_was_cut_off_in_front_is_nothing(self) -> None:
        self.assertIsNone(session(b"\xffboot:3\n"))
