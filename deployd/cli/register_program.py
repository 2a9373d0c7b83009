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
from deployd.processes.spawning import Program, Spawner

Ended = Callable[[Exit], None]


def runnable(name: str, path: str = "") -> None:
    """Raise Refused where there is no such program."""
    if shutil.which(name, path=path or SYSTEM_PATH) is None:
        why = "there is no such program, or it is not executable" if "/" in name else "command not found"
        raise Refused(f"{name} cannot be started: {why}")


class Command:
    """``instance`` is the name under which all its processes are found; the input is nothing if ours is a terminal."""

    def __init__(
        self,
        reactor: Any,
        to_thread: ToThread,
        instance: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        guard: Guard | None,
    ) -> None:
        self._clock = reactor
        self._instance = instance
        self._guard = guard
        self._census = Census(to_thread)
        self._spawner = Spawner(Children(reactor).expect, Lock())
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        stdin = nothing if os.isatty(0) else 0
        self._program = Program(tuple(argv), env, os.getcwd(), (stdin, 1, 2), mark(instance))  # noqa: PTH109
        self.session: ProcessRef | None = None

    def start(self, ended: Ended) -> None:
        """``ended`` is told how its first process has ended; raise Refused."""
        spawned = self._spawner.spawn(_Protocol(ended), self._program)
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
