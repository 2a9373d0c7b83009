"""What processes and directories use."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.forest import ProcessRef
from deployd.processes.trees import reference
from deployd.processes.usage import Usage, usage, written_since

M = 1 << 20


class UsageTests(SynchronousTestCase):
    def test_this_process_uses_memory(self) -> None:
        myself = reference(os.getpid())
        assert myself is not None
        quickly = usage([myself], enough=1 << 50)
        self.assertGreater(quickly.memory, 5 * M)
        self.assertEqual(quickly.processes, 1)
        # What it shares with others is only in part its own.
        self.assertLessEqual(usage([myself]).memory, quickly.memory + M)

    def test_one_that_is_gone_uses_none(self) -> None:
        self.assertEqual(usage([ProcessRef(2**22 + 1, "boot:1")]), Usage(0, 1))
        self.assertEqual(usage([]), Usage())


class WrittenTests(SynchronousTestCase):
    def test_only_what_was_changed_since_then_counts(self) -> None:
        top = Path(self.mktemp())
        (top / "inner").mkdir(parents=True)
        (top / "inner" / "file").write_bytes(b"x" * M)
        (top / "link").symlink_to("/usr")
        self.assertGreaterEqual(written_since(top, time.time() - 60), M)
        self.assertLess(written_since(top, time.time() - 60), 2 * M)
        self.assertEqual(written_since(top, time.time() + 60), 0)

    def test_what_is_not_there_is_nothing(self) -> None:
        self.assertEqual(written_since(Path(self.mktemp()), 0), 0)
