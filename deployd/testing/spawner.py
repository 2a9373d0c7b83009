"""A reactor that starts no process: tests decide what each one says and how it ends.

Passes the suite that the real reactor passes (tests/processes/test_spawner_contract.py and its integration half).
"""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import AnyStr

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IAddress, IProcessProtocol, IProcessTransport, IReactorProcess
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

# Above any pid that Linux gives, so that nothing real is ever found or signalled under it.
FIRST_PID = 2**22 + 1
_IGNORED_BY_DEFAULT = {signals.SIGCHLD, signals.SIGCONT, signals.SIGURG, signals.SIGWINCH}


@implementer(IProcessTransport)
class FakeProcess:
    """One process that was asked for.

    ``argv`` and ``cwd`` are the app's own, without what ``running.start`` puts around them; ``command`` is all.
    ``signals`` are those sent, in order; one that is not in ``ignored`` ends it.
    """

    def __init__(
        self,
        protocol: IProcessProtocol,
        pid: int,
        command: Sequence[str],
        env: Mapping[str, str],
        child_fds: Mapping[int, int],
    ) -> None:
        self.pid: int = pid
        self.command = tuple(command)
        self.argv, self.cwd = _unwrapped(self.command)
        self.env = dict(env)
        self.child_fds = dict(child_fds)
        self.signals: list[int] = []
        self.ignored: set[int] = set()
        self.ended = False
        self._protocol = protocol
        # By name, as the descriptors are closed once the process has them.
        self._outputs = {fd: Path(f"/proc/self/fd/{child_fds[fd]}").readlink() for fd in (1, 2) if fd in child_fds}

    def __repr__(self) -> str:
        return f"<FakeProcess {self.pid} {' '.join(self.argv)}{' (ended)' if self.ended else ''}>"

    # What a test does with it.

    def write(self, data: bytes, fd: int = 1) -> None:
        """The process prints ``data``, to where its descriptor ``fd`` leads; to nothing if it has none such."""
        if fd in self._outputs:
            with self._outputs[fd].open("ab", 0) as output:
                output.write(data)

    def exit(self, code: int | None = 0, signal: int | None = None) -> None:
        """The process ends; something that it started may still write."""
        if self.ended:
            raise ProcessExitedAlready()
        self.ended = True
        if signal is not None:
            code = None
        status = (code or 0) << 8 | (signal or 0)
        reason = Failure(ProcessTerminated(code, signal, status) if code or signal else ProcessDone(status))
        self._protocol.processExited(reason)
        self._protocol.processEnded(reason)

    # What the code under test does with it.

    def signalProcess(self, signalID: str | int) -> None:
        if self.ended:
            raise ProcessExitedAlready()
        number = int(getattr(signals, f"SIG{signalID}") if isinstance(signalID, str) else signalID)
        self.signals.append(number)
        if number == signals.SIGKILL or number not in self.ignored | _IGNORED_BY_DEFAULT:
            self.exit(signal=number)

    def loseConnection(self) -> None:
        """It has no pipes."""

    def closeChildFD(self, descriptor: int | str) -> None:
        """It has no pipes."""

    def closeStdin(self) -> None:
        self.closeChildFD(0)

    def closeStdout(self) -> None:
        self.closeChildFD(1)

    def closeStderr(self) -> None:
        self.closeChildFD(2)

    def writeToChild(self, childFD: int, data: bytes) -> None:
        raise KeyError(childFD)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def getHost(self) -> IAddress:
        raise TypeError("a process has no address")

    getPeer = getHost


@implementer(IReactorProcess)
class FakeSpawner(Clock):
    """Clock and spawner in one, as the reactor is; ``processes`` has all ever started, the newest last.

    ``refuse`` makes every further start fail with that error, as the kernel does when it runs out of something.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.refuse: OSError | None = None
        self.on_start: Callable[[FakeProcess], None] = lambda process: None

    @property
    def running(self) -> list[FakeProcess]:
        return [process for process in self.processes if not process.ended]

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: bytes | str,
        args: Sequence[bytes | str] = (),
        env: Mapping[AnyStr, AnyStr] | None = None,
        path: bytes | str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: bool = False,
        childFDs: Mapping[int, int | str] | None = None,
    ) -> IProcessTransport:
        if self.refuse is not None:
            raise self.refuse
        if path is not None or uid is not None or gid is not None or usePTY:
            raise AssertionError("a directory, user or terminal makes the real reactor fork")
        words: list[str] = [os.fsdecode(word) for word in args]
        variables: dict[str, str] = {os.fsdecode(name): os.fsdecode(value) for name, value in (env or {}).items()}
        if "\0" in "".join([*words, *variables, *variables.values()]):
            raise ValueError("embedded null byte")
        pid = FIRST_PID + len(self.processes)
        fds = {child: own for child, own in (childFDs or {}).items() if isinstance(own, int)}
        if len(fds) != 3:
            raise AssertionError("a pipe breaks with the drone, and with it what runs on")
        process = FakeProcess(processProtocol, pid, words, variables, fds)
        self.processes.append(process)
        processProtocol.makeConnection(process)
        self.on_start(process)
        return process


def _unwrapped(command: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The app's argv and directory, out of ``env --chdir=DIR setsid -- ARGV`` (Note [Starting without fork])."""
    if "--" not in command:
        return command, ""
    options, argv = command[: command.index("--")], command[command.index("--") + 1 :]
    directories = [option.removeprefix("--chdir=") for option in options if option.startswith("--chdir=")]
    return argv, directories[0] if directories else ""
