"""A keeper whose processes, pipes and time are the test's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.task import Clock

from deployd.errors import Refused
from deployd.keeper.service import Keeper, Tools
from deployd.processes.spawning import Program, Spawned
from deployd.wire.keeping import Held, Launch

# Above any pid that Linux gives.
FIRST_PID = 2**22 + 1


def descriptors() -> set[str]:
    """Those that this process has open."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


class Turns(Clock):
    """A clock whose other threads speak at its next turn."""

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.callLater(0, function, *arguments)


@define
class FakeSpawner:
    """``started`` has every program and its transport; ``refuse`` makes every further start fail."""

    started: list[tuple[Program, Spawned]] = field(factory=list)
    refuse: str = ""
    open_fds: list[dict[int, str]] = field(factory=list)

    def spawn(self, protocol: IProcessProtocol, program: Program) -> Spawned:
        if self.refuse:
            raise Refused(self.refuse)
        # A closed one would raise.
        self.open_fds.append({number: os.readlink(f"/proc/self/fd/{fd}") for number, fd in enumerate(program.fds)})  # noqa: PTH115
        transport = Spawned(protocol, FIRST_PID + len(self.started))
        self.started.append((program, transport))
        protocol.makeConnection(transport)
        return transport

    def end(self, number: int = -1, code: int = 0, signal: int = 0) -> None:
        self.started[number][1].ended(code << 8 | signal)


@define
class FakeRelay:
    """``said`` has deployd's own words in order; while ``slow``, last words take their time."""

    said: list[tuple[str, str]] = field(factory=list)
    pipes: list[dict[int, int]] = field(factory=list)
    slow: bool = False
    waiting: list[Callable[[], None]] = field(factory=list)

    def watch(self, log: str, pipes: Mapping[int, int], words: str) -> str:
        self.said.append((log, words))
        self.pipes.append(dict(pipes))
        for fd in pipes:
            os.close(fd)
        return log

    def ended(self, source: str, words: str, told: Callable[[], None]) -> None:
        self.said.append((source, words))
        if self.slow:
            self.waiting.append(told)
        else:
            told()

    def remark(self, log: str, words: str) -> None:
        self.said.append((log, words))


def launch(id: str = "http-1", **changes: Any) -> Launch:
    given: dict[str, Any] = {
        "argv": ("web", "--fast"),
        "env": {"PATH": "/bin"},
        "cwd": "/srv",
        "log": f"app/v1-abc/{id}",
    }
    return Launch(id, **(given | changes))


class KeeperHouse:
    def __init__(self, clock: Turns | None = None) -> None:
        self.clock = clock or Turns()
        self.spawner = FakeSpawner()
        self.relay = FakeRelay()
        self.told: list[Held] = []
        self.finished = 0
        tools = Tools(
            self.clock,
            self.spawner.spawn,
            self.relay,
            now=lambda: 1e9 + self.clock.seconds(),
            monotonic=self.clock.seconds,
        )
        self.keeper = Keeper(tools, self._finish)
        self.keeper.tell = self.told.append

    def _finish(self) -> None:
        self.finished += 1

    def wait(self, seconds: float = 0.0) -> None:
        """Let what is due happen, then ``seconds`` pass."""
        self.clock.advance(0)
        self.clock.advance(seconds)
