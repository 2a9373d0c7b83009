"""What ends a program whose parent was killed.

Note [The guard]
~~~~~~~~~~~~~~~~
The kernel can kill a child with its parent (PR_SET_PDEATHSIG), but only the very process that asked for it, not what
that has started; and to ask for it takes a program in between at every start. So a process that looks after a program
first forks a small one off itself, which reads a pipe that nobody writes to and that ends when the parent does, however
it ends. Then it ends the whole tree, as the parent would have: TERM, a grace, KILL. It is in a session of its own, so
that what is meant for the parent's group does not meet it; killed itself, it leaves everything as if it had never been.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from deployd.processes import trees
from deployd.processes.forest import ProcessRef

_GOODBYE = b"."
_PAUSE = 0.02
_KILL_LIMIT = 10.0
_LEAST = 3


class Guard:
    """Ends the processes of ``instance`` when this process ends without ``dismiss``.

    Made by ``fork``: nothing else may run in this process yet, no thread and no reactor.
    """

    def __init__(self, instance: str, grace: float) -> None:
        reads, self._writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._writes)
                _guard(reads, instance, grace)
            finally:
                os._exit(0)
        os.close(reads)

    def watch(self, session: ProcessRef) -> None:
        """The program runs as ``session`` from now on: what has no mark is found by that."""
        self._say(f"{session.pid} {session.created}\n".encode())

    def dismiss(self) -> None:
        """Everything has ended in order."""
        self._say(_GOODBYE)

    def close(self) -> None:
        """Wait for its end, which without ``dismiss`` is that of the instance's processes."""
        os.close(self._writes)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _say(self, data: bytes) -> None:
        try:
            os.write(self._writes, data)
        except OSError:
            # It was killed.
            return


def _guard(reads: int, instance: str, grace: float) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _keep_only(reads)
    said = b""
    while data := os.read(reads, 4096):
        said = (said + data)[-4096:]
    if not said.endswith(_GOODBYE):
        end_tree(instance, _session(said), grace)


def _keep_only(fd: int) -> None:
    """Nobody waits for the end of a pipe that the guard has open."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(_LEAST):
        os.dup2(nothing, number)
    os.closerange(_LEAST, fd)
    os.closerange(max(fd + 1, _LEAST), os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")


def _session(said: bytes) -> ProcessRef | None:
    lines = [line.split() for line in said.decode("ascii", "replace").split("\n")]
    whole = [line for line in lines[:-1] if len(line) == 2 and line[0].isdigit()]
    return ProcessRef(int(whole[-1][0]), whole[-1][1]) if whole else None


def end_tree(instance: str, session: ProcessRef | None, grace: float) -> None:
    """``deployd.processes.ending.end`` for who has no reactor: it blocks."""
    trees.signal_all(trees.find(instance, session), signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline:
        if not trees.find(instance, session):
            return
        time.sleep(_PAUSE)
    deadline = time.monotonic() + _KILL_LIMIT
    while (found := trees.find(instance, session)) and time.monotonic() < deadline:
        trees.signal_all(found, signal.SIGKILL)
        time.sleep(_PAUSE)
        if trees.find(instance, session) - found:
            trees.quell(instance, session)
