"""The demo's daemons: started through twistd, awaited, and ended so that nothing is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deployd.cli.demo_shell import Shell, StepFailed
from deployd.cli.rendering import indented

START_TIMEOUT = 30.0
# A drone gives its apps 10 s before it kills them.
STOP_TIMEOUT = 20.0
KILL_TIMEOUT = 5.0
POLL = 0.02
LOG_LINES = 15

# twistd of this very interpreter, wherever its scripts were put; -P: nothing is imported from the directory it is in.
TWISTD = [
    *(sys.executable, "-P", "-c"),
    "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()",
]


class Daemon:
    """One twistd process whose state directory has its name."""

    def __init__(self, shell: Shell, kind: str, name: str, arguments: list[str]) -> None:
        self.name = name
        self._shell = shell
        self._state = shell.directory / name
        self._log = shell.directory / f"{name}.log"
        command = ["-n", "--pidfile=", f"deployd-{kind}", "--state-dir", name, "--secret-file", "secret", *arguments]
        shell.type(shlex.join(["twistd", *command]) + f" > {name}.log &")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*TWISTD, *command],
                cwd=shell.directory,
                env=shell.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C is for the demo, which ends the daemons in order.
                start_new_session=True,
            )

    def wait(self) -> dict[str, str]:
        """Its addresses, once it is ready; raise StepFailed with the end of its log."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                addresses: dict[str, str] = json.loads((self._state / "addresses.json").read_text())
                return addresses
            except FileNotFoundError:
                self._shell.interrupts.wait(POLL)
        ended = self.process.poll()
        why = "is not ready" if ended is None else f"ended with exit code {ended}"
        raise StepFailed(f"the {self.name} {why}; its log ends:\n{self._end_of_log()}")

    def check(self) -> None:
        """Raise StepFailed when it has ended."""
        if self.process.poll() is not None:
            raise StepFailed(f"the {self.name} has ended by itself; its log ends:\n{self._end_of_log()}")

    def _end_of_log(self) -> str:
        return indented("\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]))


class Daemons:
    """All of them, in the order in which they were started."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._running: list[Daemon] = []

    def start(self, kind: str, name: str, *arguments: str) -> Daemon:
        self._shell.interrupts.check()
        daemon = Daemon(self._shell, kind, name, list(arguments))
        self._running.append(daemon)
        return daemon

    def check(self) -> None:
        for daemon in self._running:
            daemon.check()

    def stop(self) -> list[str]:
        """End drones (who end their apps), hub and registry, the last started first; who had to be killed.

        A second signal to the demo ends the patience.
        """
        killed: list[str] = []
        *core, drones = self._running[0:1], self._running[1:2], self._running[2:]
        for together in (drones, *reversed(core)):
            for daemon in together:
                _send(daemon.process, signal.SIGTERM)
            for daemon in together:
                if not self._ended(daemon, STOP_TIMEOUT):
                    _send(daemon.process, signal.SIGKILL)
                    daemon.process.wait(KILL_TIMEOUT)
                    killed.append(daemon.name)
        self._running = []
        return killed

    def _ended(self, daemon: Daemon, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while daemon.process.poll() is None:
            if time.monotonic() > deadline or self._shell.interrupts.count > 1:
                return False
            time.sleep(POLL)
        return True


def end_apps(registry: str, log: Callable[[str], None]) -> int:
    """Kill the apps of the cluster with this registry that its drones left running; how many there were."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _kill_app(int(entry.name), registry):
            log(f"killed the app with pid {entry.name}, which its drone had left")
            found += 1
    return found


def _kill_app(pid: int, registry: str) -> bool:
    """Kill ``pid`` if it is such an app; the descriptor makes sure that what is looked at is what is killed."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ours = f"DEPLOYD_REGISTRY={registry}".encode() in environment
        # Only apps have an instance id: a person's shell may well have the registry's address.
        if not ours or not any(line.startswith(b"PROCESS_ID=") for line in environment):
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(process)


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)
