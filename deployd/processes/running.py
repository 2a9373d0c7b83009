"""Starting one app process, and hearing how it ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from deployd import errors
from deployd.processes import trees
from deployd.processes.environment import SYSTEM_PATH
from deployd.processes.exits import Exit


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
    reactor. Ask ``commands.missing`` first: a command that is not there would only show as code 127.

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


@cache
def _tool(name: str) -> str:
    found = shutil.which(name, path=SYSTEM_PATH) or shutil.which(name)
    if found is None:
        raise errors.Refused(f"{name}, which deployd needs to start apps, is not on this machine")
    return found
