"""A command that runs on drones as if it ran here: input goes there, output and code come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, FirstError, gatherResults
from twisted.internet.task import deferLater
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from deployd.cli.cluster import Cluster, Row
from deployd.errors import DeploydError, Unreachable
from deployd.net.peer import Peer
from deployd.wire.control import Exec, ExecRead, ExecWrite
from deployd.wire.documents import dump

FAILED = 125
WAIT, SHORT_WAIT = 10.0, 0.5
PATIENCE = 45.0
"""Seconds for an answer: those that the hub waits for its drone's are in them."""
READERS, WRITERS = 32, 16
"""So many commands of each kind are under way; a session may ask for little more."""
BEAT = 10.0
BREATH = 0.2
MAX_LINE = 64 * 1024


@frozen
class Asked:
    """What to run, and where (wire.control.Exec)."""

    app: str
    commit: str
    drones: tuple[str, ...]
    every: bool
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


class Streams(Protocol):
    """Where input comes from and output goes (deployd.cli.standard)."""

    def read(self) -> Deferred[bytes]: ...
    def write(self, stdout: bytes, stderr: bytes) -> Deferred[None]: ...


class Execution:
    """``complain`` gets a sentence about what went wrong, after which the code is 125 or more.

    A link that breaks ends it: nobody could say what of the output was lost with it.
    """

    def __init__(self, cluster: Cluster, asked: Asked, streams: Streams, complain: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._asked = asked
        self._streams = streams
        self._complain = complain
        self._hub: Peer
        self._running: dict[str, str] = {}
        self._reading = DeferredSemaphore(READERS)
        self._writing = DeferredSemaphore(WRITERS)

    async def run(self) -> int:
        """The exit code. Raise UnknownApp, ..., Unreachable."""
        asked = self._asked
        self._hub = await self._cluster.hub()
        answer = await self._ask(
            Exec,
            app=asked.app,
            commit=asked.commit,
            drones=list(asked.drones),
            every=asked.every,
            argv=list(asked.argv),
            env=dump(dict(asked.env)),
        )
        runs: dict[str, str] = answer["runs"]
        self._running = {run: drone for drone, run in runs.items()}
        work = [self._watch(drone, run, len(runs)) for drone, run in sorted(runs.items())]
        watching = gatherResults([Deferred.fromCoroutine(each) for each in work], consumeErrors=True)
        for beside in (self._feed(), self._stay()):
            Deferred.fromCoroutine(beside).addErrback(self._lost)
        try:
            codes: list[int] = await watching
        except FirstError as error:
            # Ctrl-C breaks the link too, and then nobody should hear of that.
            await deferLater(self._cluster.clock, BREATH)
            error.subFailure.raiseException()
        return max(codes)

    async def _watch(self, drone: str, run: str, count: int) -> int:
        """Bring its output here; its code."""
        out = _Plain() if count == 1 else _Prefixed(f"{drone} | ".encode())
        wait = WAIT if count <= READERS else SHORT_WAIT
        while True:
            try:
                said = await self._reading.run(self._begin, ExecRead, run=run, wait=wait)
            except Unreachable:
                raise
            except DeploydError as error:
                said = {"stdout": b"", "stderr": b"", "failed": str(error), "ended": False, "code": 0}
            over = bool(said["ended"] or said["failed"])
            await self._streams.write(out.stdout(said["stdout"], over), out.stderr(said["stderr"], over))
            if over:
                self._running.pop(run, None)
                if said["failed"]:
                    self._complain(f"{drone}: {said['failed']}")
                return FAILED if said["failed"] else int(said["code"])

    async def _feed(self) -> None:
        """Bring input there, as fast as the slowest takes it."""
        data = b"-"
        while data and self._running:
            data = await self._streams.read()
            writing = [Deferred.fromCoroutine(self._write(run, data)) for run in list(self._running)]
            await gatherResults(writing, consumeErrors=True)

    async def _write(self, run: str, data: bytes) -> None:
        end = not data
        while run in self._running:
            try:
                answer = await self._writing.run(self._begin, ExecWrite, run=run, data=data, end=end)
            except Unreachable:
                raise
            except DeploydError:
                # Whoever reads it hears why.
                return
            if answer["room"]:
                return
            data = b""

    async def _stay(self) -> None:
        """Show that somebody is here, though the output may not be taken for long."""
        while self._running:
            await deferLater(self._cluster.clock, BEAT)
            for run in list(self._running):
                self._begin(ExecWrite, run=run, data=b"", end=False).addErrback(lambda _: None)

    def _lost(self, failure: Failure) -> None:
        """The link is broken, which whoever reads meets too."""
        failure.trap(Unreachable)

    async def _ask(self, command: type[Command], **arguments: Any) -> Row:
        answer: Row = await self._begin(command, **arguments)
        return answer

    def _begin(self, command: type[Command], **arguments: Any) -> Deferred[Row]:
        return self._hub.ask(command, arguments, PATIENCE)


class _Plain:
    """Byte by byte."""

    def stdout(self, data: bytes, over: bool) -> bytes:
        return data

    stderr = stdout


class _Prefixed:
    """Whole lines, each with ``prefix``."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._out = self._err = b""

    def stdout(self, data: bytes, over: bool) -> bytes:
        shown, self._out = self._lines(self._out + data, over)
        return shown

    def stderr(self, data: bytes, over: bool) -> bytes:
        shown, self._err = self._lines(self._err + data, over)
        return shown

    def _lines(self, data: bytes, over: bool) -> tuple[bytes, bytes]:
        *lines, rest = data.split(b"\n")
        if rest and (over or len(rest) > MAX_LINE):
            lines.append(rest)
            rest = b""
        return b"".join(self._prefix + line + b"\n" for line in lines), rest
