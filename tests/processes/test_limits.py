"""Limits as a command in front of the command."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.role import Limits
from deployd.processes.limits import wrapped


class LimitTests(SynchronousTestCase):
    def test_without_limits_a_command_is_what_it_was(self) -> None:
        self.assertEqual(wrapped(("web", "-v"), Limits(cpu=50)), ("web", "-v"))

    def test_limits_stand_before_it(self) -> None:
        tool, *rest = wrapped(("web", "--nofile=1"), Limits(memory=1000, files=20, processes=3))
        self.assertTrue(tool.endswith("/prlimit"))
        self.assertEqual(rest, ["--nofile=20", "--nproc=3", "--data=1000", "--", "web", "--nofile=1"])
