"""One ``twistd -n`` daemon as a process, its state directory and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TWISTD = Path(sys.executable).parent / "twistd"


class TwistdProcess:
    """``deployd-KIND`` with ``options`` on loopback, at free ports unless its arguments say otherwise."""

    def __init__(self, directory: Path, kind: str, *options: str) -> None:
        self.state = directory / "state"
        self.output = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [str(TWISTD), "-n", "--pidfile=", f"deployd-{kind}", *options, "--interface", "127.0.0.1"]

    def launch(self, *arguments: str) -> None:
        command = [*self._command, "--state-dir", str(self.state)]
        if "--port" not in arguments:
            command += ["--port", "0"]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.state.parent,
                env={"PATH": os.defpath, "DEPLOYD_SECRET": "beep boop"},
            )

    def start(self, *arguments: str) -> dict[str, str]:
        """Wait until it is ready; its addresses."""
        self.launch(*arguments)
        assert self.process is not None
        path = self.state / "addresses.json"
        while True:
            try:
                self.process.wait(0.05)
                raise AssertionError(self.output.read_text())
            except subprocess.TimeoutExpired:
                pass
            try:
                addresses = json.loads(path.read_text())
            except FileNotFoundError:
                continue
            if addresses["pid"] == self.process.pid:
                return dict(addresses)

    def refused(self, *arguments: str) -> str:
        """What it says when it ends at once."""
        self.launch(*arguments)
        assert self.process is not None
        assert self.process.wait(60) in (1, 2)
        said = self.output.read_text()
        assert "Traceback" not in said
        return said

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)
