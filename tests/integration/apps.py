"""Real apps under a real keeper, which a drone's link of the test's own is connected to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from deployd.drone.keeper_process import KeeperProcess
from deployd.drone.keeping import Keeping
from deployd.processes.census import Census
from deployd.processes.ending import end
from deployd.processes.exits import Exit
from deployd.processes.records import WORDS, Record, unpack
from deployd.processes.trees import ProcessRef, find, signal_all
from deployd.wire.keeping import Held, Launch

PATH = os.environ["PATH"]


async def until(condition: Callable[[], bool], limit: float = 30) -> float:
    """Seconds until it is so."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + limit, "it never comes"
        await deferLater(reactor, 0.003)
    return time.monotonic() - start


@contextmanager
def keeper(directory: Path, *budgets: int, files: int = 0) -> Iterator[int]:
    """A keeper process that no drone has started, with that soft limit of open files; its pid."""
    words = [sys.executable, "-m", "deployd.keeper", str(directory), *map(str, budgets)]
    if files:
        words = ["prlimit", f"--nofile={files}:", *words]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as process:
        try:
            while not (directory / "keeper.sock").is_socket():
                assert process.poll() is None, (directory / "keeper.log").read_text()
                time.sleep(0.01)
            yield process.pid
        finally:
            process.kill()


@define
class App:
    """One real app in a directory of its own, with everything it says and how it ends."""

    keeping: Keeping
    state: Path
    directory: Path
    instance: str = field(factory=lambda: f"http-{uuid4().hex[:10]}")
    exits: list[Exit] = field(factory=list)
    held: Held | None = None

    @property
    def ref(self) -> ProcessRef | None:
        return ProcessRef(self.held.pid, self.held.created) if self.held else None

    @property
    def log(self) -> str:
        return f"app/v1-abc/{self.instance}"

    def launch(self, *argv: str, env: dict[str, str] | None = None, listen: str = "") -> Launch:
        variables = {"PATH": PATH, "PROCESS_ID": self.instance} | (env or {})
        return Launch(self.instance, argv, variables, str(self.directory), self.log, listen)

    async def start(self, *argv: str, env: dict[str, str] | None = None, listen: str = "") -> Held:
        self.held = await self.keeping.start(self.launch(*argv, env=env, listen=listen), self.exits.append)
        return self.held

    async def sh(self, script: str) -> Held:
        return await self.start("/bin/sh", "-c", script)

    async def python(self, program: str) -> Held:
        return await self.start(sys.executable, "-c", program)

    def records(self) -> list[Record]:
        segments = sorted((self.state / "logs" / self.log).glob("*.log"))
        return [record for segment in segments for record in unpack(segment.read_bytes())[0]]

    @property
    def text(self) -> str:
        return b"".join(record.data for record in self.records() if record.stream != WORDS).decode()

    @property
    def words(self) -> list[str]:
        return [record.data.decode() for record in self.records() if record.stream == WORDS]

    async def said(self, text: str) -> None:
        await until(lambda: text in self.text)

    async def exit(self) -> Exit:
        await until(lambda: bool(self.exits))
        return self.exits[0]

    async def end(self, grace: float = 10) -> float:
        """Seconds that it took."""
        before = reactor.seconds()
        census = Census(deferToThread, lambda: {self.keeping.pid})
        await end(reactor, census, self.instance, self.ref, grace)
        return float(reactor.seconds() - before)

    def left(self) -> int:
        return len(find(self.instance, self.ref, {self.keeping.pid}))

    def kill(self) -> None:
        signal_all(find(self.instance, self.ref, {self.keeping.pid}), signal.SIGKILL)


def link(directory: Path) -> Keeping:
    return Keeping(reactor, KeeperProcess(reactor, directory))


@asynccontextmanager
async def linked(state: Path) -> AsyncIterator[Keeping]:
    """A link that ends with its test, however that ends: it would start a keeper for ever where there is none."""
    keeping = link(state)
    try:
        await keeping.begin()
        yield keeping
    finally:
        await keeping.leave()
