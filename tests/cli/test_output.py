"""Tables on a terminal."""

from __future__ import annotations

import io
import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.output import show
from deployd.cli.rendering import Table
from deployd.cli.settings import Settings

ROW = ("http-36db77fd96", "webapp", "v12", "bcc16b8", "http", "one", "backoff", "24121", "18453", "3")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TableTests(SynchronousTestCase):
    def shown(self, reason: str) -> str:
        terminal = Terminal()
        self.patch(sys, "stdout", terminal)
        header = ("ID", "APP", "RELEASE", "COMMIT", "ROLE", "DRONE", "STATE", "PORT", "PID", "RESTARTS", "REASON")
        show(Settings(), None, Table(header, ((*ROW, reason),)))
        return terminal.getvalue()

    def test_nothing_that_is_short_is_cut_however_narrow_the_terminal_is(self) -> None:
        for width in ("40", "80", "200"):
            self.patch(os, "environ", os.environ | {"COLUMNS": width})
            shown = self.shown("exited at once with code 3 " * 3)
            for text in (*ROW, "RELEASE", "RESTARTS"):
                self.assertIn(text, shown)
            self.assertEqual(shown.count("exited"), 3)
