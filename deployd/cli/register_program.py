"""COMMAND of ``deployctl register``: started in a session of its own, ended with all that it has started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from deployd.errors import Refused
from deployd.processes import trees
from deployd.processes.census import Census, ToThread
from deployd.processes.children import Children
from deployd.processes.ending import end
from deployd.processes.environment import SYSTEM_PATH
from deployd.processes.exits import Exit
from deployd.processes.forest import ProcessRef
from deployd.processes.guarding import Guard
from deployd.processes.marks import mark
from deployd.processes.ports import Ports
from deployd.processes.spawning import Program, Spawner

Ended = Callable[[Exit], None]


def runnable(name: str, path: str = "") -> None:
    """Raise Refused where there is no such program."""
    if shutil.which(name, path=path or SYSTEM_PATH) is None:
        why = "there is no such program, or it is not executable" if "/" in name else "command not found"
        raise Refused(f"{name} cannot be started: {why}")


class PortOf:
    """The port of a program: ``fixed``, or one of ``ports``; the same each time, unless it is another's by now."""

    def __init__(self, ports: Ports, fixed: int | None) -> None:
        self._ports = ports
        self._is_fixed = fixed is not None
        try:
            self._port = ports.allocate(fixed)
        except Refused:
            if fixed is None:
                raise
            raise Refused(f"port {fixed} is taken by another program; leave --port away for a free one") from None

    @property
    def number(self) -> int:
        return self._port.number

    def renew(self) -> None:
        """The program starts again; raise Refused."""
        if not self._is_fixed:
            self._ports.release(self._port)
            self._port = self._ports.allocate(self._port.number)


class Command:
    """``instance`` is the name under which all its processes are found; ``words(port)`` are arguments and environment.

    The input is nothing if ours is a terminal.
    """

    def __init__(
        self,
        reactor: Any,
        to_thread: ToThread,
        instance: str,
        port: PortOf,
        words: Callable[[int], tuple[Sequence[str], Mapping[str, str]]],
        guard: Guard | None,
    ) -> None:
        self._clock = reactor
        self._instance = instance
        self._port = port
        self._words = words
        self._guard = guard
        self._census = Census(to_thread)
        self._spawner = Spawner(Children(reactor).expect, Lock())
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._fds = (nothing if os.isatty(0) else 0, 1, 2)
        self._cwd = os.getcwd()  # noqa: PTH109
        self.session: ProcessRef | None = None

    @property
    def port(self) -> int:
        return self._port.number

    def start(self, ended: Ended) -> None:
        """``ended`` is told how its first process has ended; raise Refused."""
        if self.session is not None:
            self._port.renew()
        argv, env = self._words(self.port)
        program = Program(tuple(argv), env, self._cwd, self._fds, mark(self._instance))
        spawned = self._spawner.spawn(_Protocol(ended), program)
        self.session = trees.reference(spawned.pid)
        if self._guard is not None and self.session is not None:
            self._guard.watch(self.session)

    def end(self, grace: float) -> Deferred[None]:
        """Fires once nothing of it is left."""
        return end(self._clock, self._census, self._instance, self.session, grace)


class _Protocol(ProcessProtocol):
    def __init__(self, ended: Ended) -> None:
        self._ended = ended

    def processExited(self, reason: Failure) -> None:
        self._ended(Exit(getattr(reason.value, "exitCode", None), getattr(reason.value, "signal", None)))
