"""Whether a command can be run."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.commands import _interpreter


class InterpreterTests(SynchronousTestCase):
    def test_a_pipe_that_an_app_has_put_in_place_of_its_program_keeps_nobody_waiting(self) -> None:
        pipe = Path(self.mktemp())
        os.mkfifo(pipe)
        self.assertEqual(_interpreter(pipe), "")
