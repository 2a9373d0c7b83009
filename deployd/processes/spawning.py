"""Starting processes without fork, in a session, directory and limits of their own.

Note [Starting without fork]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Twisted forks when it is given a directory, and has no sessions at all; programs that replace themselves (``env``,
``setsid``) would cost three times what the start itself costs. posix_spawn does all of it but the directory and the
limits, which are therefore the spawner's own for the moment of the start. That is its whole process's: other threads
use absolute paths, and take ``lock`` to open files while the limit of these may be low.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal as signals
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from attrs import field, frozen
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IAddress, IProcessProtocol, IProcessTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from deployd.errors import Refused
from deployd.processes.environment import SYSTEM_PATH

HIGHEST = 4
"""So many descriptors can be given to a process: 0, 1, ..."""
# What is ignored stays so through exec.
_TO_DEFAULT = tuple(signals.valid_signals() - {signals.SIGKILL, signals.SIGSTOP})

Expect = Callable[[int, Callable[[int], None]], None]
"""``expect(pid, ended)``: call ``ended`` with the wait status of that child once it was reaped, never at once."""


@frozen
class Program:
    """``fds`` are the spawner's own descriptors for 0, 1, ...; ``mark`` as by ``deployd.processes.marks``."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: str
    fds: tuple[int, ...]
    mark: int = 0


@implementer(IProcessTransport)
class Spawned:
    """A started process as a ProcessProtocol's transport. Its descriptors are whoever's who gave them."""

    def __init__(self, protocol: IProcessProtocol, pid: int) -> None:
        self.pid: int = pid
        self._protocol = protocol
        self._ended = False

    def ended(self, status: int) -> None:
        """It was reaped with that wait status; its pid may be anybody's from now on."""
        self._ended = True
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            reason = Failure(ProcessDone(status))
        else:
            reason = Failure(ProcessTerminated(code if code > 0 else None, -code if code < 0 else None, status))
        self._protocol.processExited(reason)
        self._protocol.processEnded(reason)

    def signalProcess(self, signalID: str | int) -> None:
        if self._ended:
            raise ProcessExitedAlready()
        number = getattr(signals, f"SIG{signalID}") if isinstance(signalID, str) else signalID
        os.kill(self.pid, int(number))

    def closeStdin(self) -> None:
        """It has no pipes."""

    def closeStdout(self) -> None:
        """It has no pipes."""

    def closeStderr(self) -> None:
        """It has no pipes."""

    def closeChildFD(self, descriptor: int) -> None:
        """It has no pipes."""

    def loseConnection(self) -> None:
        """It has no pipes."""

    def writeToChild(self, childFD: int, data: bytes) -> None:
        raise KeyError(childFD)

    def write(self, data: bytes) -> None:
        raise KeyError(0)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        raise KeyError(0)

    def getHost(self) -> IAddress:
        raise TypeError("a process has no address")

    getPeer = getHost


class Spawner:
    """``files`` is the soft limit of open files that processes get, where this one has raised its own."""

    def __init__(self, expect: Expect, lock: AbstractContextManager[Any], files: int | None = None) -> None:
        self._expect = expect
        self._lock = lock
        self._files = files
        self._nothing = _open_high(os.devnull, os.O_RDONLY)
        self._here = _open_high(".", os.O_RDONLY | os.O_DIRECTORY)
        # Note [Descriptors below the limit]
        # posix_spawn only takes descriptors below the soft limit, and one that is given as 2 may not be another's 1.
        self._slots = [_open_high(os.devnull, os.O_RDONLY) for _ in range(HIGHEST)]

    def spawn(self, protocol: IProcessProtocol, program: Program) -> Spawned:
        """Start ``program``, whose transport ``protocol`` is given; raise Refused with one sentence."""
        name = program.argv[0] if program.argv else ""
        try:
            path = _resolved(name, program.env.get("PATH", SYSTEM_PATH), program.cwd)
            pid = self._spawned(path, program)
        except OSError as error:
            raise Refused(f"{name} cannot be started: {_why(error)}") from None
        except ValueError:
            raise Refused(
                f"{name!r} cannot be started: a NUL in its command or environment, or a = in a name"
            ) from None
        transport = Spawned(protocol, pid)
        self._expect(pid, transport.ended)
        protocol.makeConnection(transport)
        return transport

    def _spawned(self, path: str, program: Program) -> int:
        given = [(slot, own, child) for child, (slot, own) in enumerate(zip(self._slots, program.fds, strict=False))]
        try:
            for slot, own, _ in given:
                os.dup2(own, slot, inheritable=False)
            _enter(program.cwd)
            with self._lock, _Limits(program.mark, self._files):
                return os.posix_spawn(
                    path,
                    program.argv,
                    program.env,
                    file_actions=[(os.POSIX_SPAWN_DUP2, slot, child) for slot, _, child in given],
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_TO_DEFAULT,
                )
        finally:
            os.fchdir(self._here)
            for slot, _, _ in given:
                os.dup2(self._nothing, slot, inheritable=False)

    def close(self) -> None:
        for fd in (self._nothing, self._here, *self._slots):
            os.close(fd)


class _Limits:
    """The soft limits of a process to start as this process's own, for a moment (Note [The mark that stays])."""

    def __init__(self, mark: int, files: int | None) -> None:
        self._wanted = [(resource.RLIMIT_RTTIME, mark)] if mark else []
        if files is not None:
            self._wanted.append((resource.RLIMIT_NOFILE, files))
        self._before: list[tuple[int, tuple[int, int]]] = []

    def __enter__(self) -> None:
        for kind, soft in self._wanted:
            before = resource.getrlimit(kind)
            if before[1] == resource.RLIM_INFINITY or soft <= before[1]:
                resource.setrlimit(kind, (soft, before[1]))
                self._before.append((kind, before))

    def __exit__(self, *_: object) -> None:
        for kind, before in self._before:
            resource.setrlimit(kind, before)


def _resolved(name: str, path: str, cwd: str) -> str:
    """The file that runs as ``name`` in the directory ``cwd``; raise Refused where there is none."""
    if "/" in name:
        return os.path.join(cwd, name)  # noqa: PTH118 - at every start
    for directory in path.split(":") if name else ():
        file = os.path.join(cwd, directory, name)  # noqa: PTH118
        if os.access(file, os.X_OK) and os.path.isfile(file):  # noqa: PTH113
            return file
    raise Refused(f"{name} cannot be started: command not found on this drone (PATH {path})")


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise Refused(f"cannot run anything in {directory}: {_why(error)}") from None


def _why(error: OSError) -> str:
    known = {
        errno.E2BIG: "its arguments and environment are too long",
        errno.EAGAIN: "this machine has no process left",
        errno.EMFILE: "this drone has no descriptor left",
        errno.ENOEXEC: "it is no program and has no #! line",
    }
    return known.get(error.errno or 0) or (error.strerror or str(error)).lower()


def _open_high(path: str, flags: int) -> int:
    """A descriptor that is none of those that processes are given."""
    low = os.open(path, flags | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, HIGHEST)
    finally:
        os.close(low)
