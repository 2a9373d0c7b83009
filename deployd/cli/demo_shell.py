"""Commands as a person would type them: shown, run, their output passed on and returned."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Timer
from types import FrameType

import click

from deployd.errors import DeploydError

COMMAND_TIMEOUT = 150.0
# What of the person's environment a child gets; not, say, a proxy between it and 127.0.0.1.
INHERITED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TERM", "TMPDIR")


class StepFailed(DeploydError):
    """A step of the demo did not hold."""


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP as a state to look at.

    An exception out of the blue could fall between starting a process and noting that it must be ended.
    """

    def __init__(self) -> None:
        self._seen = Event()
        self.count = 0
        self.also: Callable[[], None] | None = None

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def check(self) -> None:
        """Raise KeyboardInterrupt after the first signal."""
        if self._seen.is_set():
            raise KeyboardInterrupt

    def wait(self, seconds: float) -> None:
        """Wait, or raise KeyboardInterrupt as soon as a signal comes."""
        self._seen.wait(seconds)
        self.check()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._seen.set()
        if self.also is not None:
            self.also()


class Shell:
    """Runs commands in ``directory`` (which ``cd`` changes) with an environment that owes the person's little."""

    def __init__(self, directory: Path, interrupts: Interrupts) -> None:
        self.directory = directory
        self.interrupts = interrupts
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.environment: dict[str, str] = inherited | {"HOME": str(directory), **_no_git_of_the_person()}

    def note(self, text: str) -> None:
        click.secho(f"\n# {text}", fg="cyan")

    def type(self, line: str) -> None:
        """Show a command."""
        click.secho(f"$ {line}", bold=True)

    def export(self, shown: str, values: Mapping[str, str]) -> None:
        self.type(f"export {shown}")
        self.environment.update(values)

    def cd(self, directory: Path) -> None:
        self.type(f"cd {shlex.quote(directory.name)}")
        self.directory = directory

    def git(self, *arguments: str) -> str:
        return self.run(["git", *arguments], ["git", *arguments])

    def deployctl(self, *arguments: str) -> str:
        # -P: Python would look for modules in the app's directory first, and the app has an http.py.
        program = [sys.executable, "-P", "-m", "deployd.cli"]
        return self.run(["deployctl", *arguments], [*program, *arguments])

    def run(self, shown: list[str], command: list[str]) -> str:
        """What the command printed; raise StepFailed, KeyboardInterrupt."""
        self.interrupts.check()
        self.type(shlex.join(shown))
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.interrupts.also = process.terminate
        late = Timer(COMMAND_TIMEOUT, process.kill)
        late.start()
        try:
            printed = _pass_on(process)
            code = process.wait()
        finally:
            late.cancel()
            self.interrupts.also = None
        self.interrupts.check()
        if code != 0:
            raise StepFailed(f"`{shlex.join(shown)}` ended with exit code {code}")
        return printed


def _pass_on(process: subprocess.Popen[str]) -> str:
    lines: list[str] = []
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.append(line)
            click.echo(line, nl=False)
    return "".join(lines)


def _no_git_of_the_person() -> dict[str, str]:
    """Keep hooks, signing keys, helpers and names of the person's own git out of this."""
    return {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
