"""Starting one app process, and hearing how it ends."""

from __future__ import annotations

import os
import shutil
import signal as signals
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from attrs import frozen
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from deployd import errors
from deployd.processes import trees
from deployd.processes.environment import SYSTEM_PATH

_KNOWN_CODES = {126: "the command is not executable", 127: "command not found"}


@frozen
class Exit:
    """How a process ended: by itself with ``code``, or by ``signal``; the other is None."""

    code: int | None
    signal: int | None = None

    @property
    def text(self) -> str:
        """For people: ``exited with code 1``, ``was ended by SIGKILL``."""
        if self.signal is not None:
            try:
                return f"was ended by {signals.Signals(self.signal).name}"
            except ValueError:
                return f"was ended by signal {self.signal}"
        known = _KNOWN_CODES.get(self.code or 0)
        return f"exited with code {self.code}" + (f" ({known})" if known else "")


class AppProcess(ProcessProtocol):
    """One process.

    ``exited`` is called once, when the process itself is gone, even if something that it started still runs; never
    before ``start`` has returned. ``ref`` (with ``pid``) is what ``trees`` and ``end`` take as the session.
    """

    transport: IProcessTransport

    def __init__(self, exited: Callable[[Exit], None]) -> None:
        self.pid = 0
        self.ref: trees.ProcessRef | None = None
        self.exit: Exit | None = None
        self._exited = exited
        self._started = False

    def connectionMade(self) -> None:
        self.pid = int(self.transport.pid)
        self.ref = trees.reference(self.pid)

    def processExited(self, reason: Failure) -> None:
        value = reason.value
        if isinstance(value, ProcessTerminated):
            self.exit = Exit(value.exitCode, value.signal)
        else:
            self.exit = Exit(0)
        if self._started:
            self._exited(self.exit)

    def started(self, clock: IReactorTime) -> None:
        """Called by ``start`` at its end: a process may be gone before spawnProcess has returned."""
        self._started = True
        if self.exit is not None:
            clock.callLater(0, self._exited, self.exit)


def start(
    spawner: IReactorProcess,
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    output: int,
    exited: Callable[[Exit], None],
) -> AppProcess:
    """Run ``argv`` in directory ``cwd`` with exactly ``env``, in a session of its own; raise Refused if that fails.

    ``output`` is the descriptor that the app gets as stdout and stderr; it stays the caller's, too. ``spawner`` is the
    reactor. Ask ``missing`` first: a command that is not there would only show as code 127.

    Note [Starting without fork]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Twisted forks when it is given a directory or a user, which stops the reactor for as long as the kernel copies the
    drone's page tables; otherwise it uses posix_spawn, which does not. So directory and session are made by two small
    programs that replace themselves: ``env --chdir=DIR setsid -- ARGV``. In this order: env would take a command
    with a ``=`` in it for a variable, setsid takes anything after ``--``, and looks it up in the app's own PATH from
    the app's own directory. Neither changes the environment, as a shell would. setsid does not fork here, as a
    new child never leads a process group: the pid that we know is the app's, and the session's.
    """
    process = AppProcess(exited)
    command = [_tool("env"), f"--chdir={cwd}", _tool("setsid"), "--", *argv]
    try:
        words = [word.encode() for word in command]
        variables = {name.encode(): value.encode() for name, value in env.items()}
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            spawner.spawnProcess(process, words[0], words, variables, childFDs={0: nothing, 1: output, 2: output})
        finally:
            os.close(nothing)
    except OSError as error:
        raise errors.Refused(f"{argv[0]} cannot be started: {error.strerror}") from None
    except (TypeError, ValueError):
        raise errors.Refused(f"{argv[0]!r} cannot be started: its command or environment has a NUL in it") from None
    process.started(IReactorTime(spawner))
    return process


def missing(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> str | None:
    """Why ``argv`` cannot be run here, as one sentence; None if it can, as far as files tell."""
    if not argv or not argv[0]:
        return "there is no command to run"
    name, path = argv[0], env.get("PATH", SYSTEM_PATH)
    if not Path(cwd).is_dir():
        return f"{name}: the directory {cwd} to run it in is not there"
    if "/" in name:
        candidates = [Path(cwd, name)]
    else:
        candidates = [Path(cwd, directory or ".", name) for directory in path.split(":")]
    files = [file for file in candidates if file.is_file()]
    if not files:
        why = "no such file on this drone" if "/" in name else f"command not found on this drone (PATH {path})"
        return f"{name}: {why}"
    runnable = next((file for file in files if os.access(file, os.X_OK)), None)
    if runnable is None:
        return f"{name}: not executable; `chmod +x` it and commit that"
    interpreter = _interpreter(runnable)
    if interpreter and not Path(cwd, interpreter).exists():
        return f"{name}: its interpreter {interpreter} is not on this drone"
    return None


def _interpreter(file: Path) -> str:
    """The program that a ``#!`` line names, or nothing."""
    try:
        with file.open("rb") as content:
            line = content.readline(256)
    except OSError:
        return ""
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


@cache
def _tool(name: str) -> str:
    found = shutil.which(name, path=SYSTEM_PATH) or shutil.which(name)
    if found is None:
        raise errors.Refused(f"{name}, which deployd needs to start apps, is not on this machine")
    return found
