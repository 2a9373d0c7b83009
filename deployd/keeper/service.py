"""What the keeper holds: processes, their logs and their sockets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessProtocol, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from deployd.errors import Refused
from deployd.keeper.sockets import Sockets, told
from deployd.processes import trees
from deployd.processes.exits import Exit
from deployd.processes.limits import wrapped
from deployd.processes.marks import mark
from deployd.processes.records import STDERR, STDOUT
from deployd.processes.spawning import Program
from deployd.wire.keeping import MAX_REMARK, Held, Launch

MAX_HELD = 10_000
LAST_WORDS = 0.02
"""Seconds for which the news of an end waits until what the process had printed is in its log."""
IDLE = 60.0
GOODBYE = 0.02
"""Seconds in which the drone is told that the keeper will end."""


class Relay(Protocol):
    """As deployd.keeper.relay."""

    def watch(self, log: str, pipes: Mapping[int, int], words: str) -> Any: ...
    def ended(self, source: Any, words: str, told: Callable[[], None]) -> None: ...
    def remark(self, log: str, words: str) -> None: ...


Spawn = Callable[[IProcessProtocol, Program], IProcessTransport]


@frozen
class Tools:
    """``now`` is seconds since 1970; ``monotonic`` those that ``Launch.by`` is counted in."""

    reactor: Any
    spawn: Spawn
    relay: Relay
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Keeper:
    """``tell`` hears of every end; ``finished`` is called once nothing is held and no drone has come for IDLE."""

    def __init__(self, tools: Tools, finished: Callable[[], None]) -> None:
        self._tools = tools
        self._sockets = Sockets()
        self._children: dict[str, Child] = {}
        self._finished = finished
        self._idle: IDelayedCall | None = None
        self._visited = False
        self._dismissed = False
        self.tell: Callable[[Held], None] = lambda held: None
        self._settle()

    # What the drone asks for.

    def start(self, launch: Launch, attached: tuple[int, int, int] | None = None) -> Held:
        """Start it; ``attached`` stay the caller's. Raise Refused with one sentence."""
        tools = self._tools
        known = self._children.get(launch.id)
        if known is not None and not known.held.ended:
            raise Refused(f"{launch.id} still runs (pid {known.held.pid})")
        if known is None and len(self._children) >= MAX_HELD:
            raise Refused(f"this drone's keeper holds {MAX_HELD} processes; it takes no more")
        if launch.by and tools.monotonic() > launch.by:
            raise Refused(f"{launch.id} was to be started earlier")
        _check_log(launch.log)
        child = Child(self, launch.id)
        if attached is None:
            self._start_logged(child, launch)
        else:
            self._spawn(child, launch, attached)
            child.source = tools.relay.watch(launch.log, {}, child.words)
        self._children[launch.id] = child
        self._settle()
        return child.held

    def held(self, after: str, most: int) -> tuple[list[Held], str]:
        """Some of what is held, by id, and the id after which it goes on ("" at the end)."""
        ids = sorted(id for id in self._children if id > after)
        return [self._children[id].held for id in ids[:most]], ids[most - 1] if len(ids) > most else ""

    def forget(self, id: str) -> None:
        child = self._children.get(id)
        if child is not None and child.held.ended:
            del self._children[id]
            # Without its record nobody would know of it.
            self._sockets.close(id)
            self._settle()

    def unlisten(self, id: str) -> None:
        self._sockets.close(id)
        child = self._children.get(id)
        if child is not None:
            child.held = evolve(child.held, socket=False)
        self._settle()

    def remark(self, log: str, words: str) -> None:
        """Raise Refused for what is no log."""
        _check_log(log)
        self._tools.relay.remark(log, " ".join(words.split())[:MAX_REMARK])

    def quit(self) -> None:
        """End, soon; raise Refused while something runs, and then end a while after that, unless a drone comes."""
        self._dismissed = True
        running = self.running
        if running:
            raise Refused(f"{running} processes still run")
        self._tools.reactor.callLater(GOODBYE, self._finished)

    @property
    def running(self) -> int:
        return sum(not child.held.ended for child in self._children.values())

    def visited(self, now: bool) -> None:
        """Whether a drone is connected."""
        self._visited = now
        self._dismissed = self._dismissed and not now
        self._settle()

    # How it starts, and ends.

    def _start_logged(self, child: Child, launch: Launch) -> None:
        pipes: dict[int, int] = {}
        theirs: list[int] = []
        try:
            theirs.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            for stream in (STDOUT, STDERR) if launch.log else ():
                ours, output = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(ours, False)
                # An app of another user may open /dev/stderr, which is this pipe; nobody else finds it.
                os.fchmod(output, 0o666)
                pipes[ours] = stream
                theirs.append(output)
            self._spawn(child, launch, tuple(theirs) if pipes else (theirs[0],) * 3)
        except BaseException as error:
            for fd in pipes:
                os.close(fd)
            if isinstance(error, OSError):
                raise Refused(f"{launch.id} cannot be started: {error.strerror}") from None
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        child.source = self._tools.relay.watch(launch.log, pipes, child.words)

    def _spawn(self, child: Child, launch: Launch, fds: tuple[int, ...]) -> None:
        argv, env = launch.argv, launch.env
        listened = launch.id in self._sockets
        if launch.listen:
            fds = (*fds, self._sockets.listen(launch.id, launch.listen).fileno())
            argv, env = told(argv), env | {"LISTEN_FDS": "1"}
        try:
            argv = wrapped(argv, launch.limits)
            self._tools.spawn(child, Program(argv, env, launch.cwd, fds, mark(launch.id)))
        except Refused:
            # The drone does not know of a socket that nothing was given.
            if not listened:
                self._sockets.close(launch.id)
            raise
        child.held = evolve(child.held, started=self._tools.now(), socket=launch.id in self._sockets)

    def exited(self, child: Child, how: Exit) -> None:
        child.held = held = evolve(child.held, ended=self._tools.now(), code=how.code, signal=how.signal)
        waiting: list[IDelayedCall] = []

        def once() -> None:
            if waiting:
                call = waiting.pop()
                if call.active():
                    call.cancel()
                self.tell(held)

        reactor = self._tools.reactor
        waiting.append(reactor.callLater(LAST_WORDS, once))
        self._tools.relay.ended(child.source, how.text, lambda: reactor.callFromThread(once))
        self._settle()

    def _settle(self) -> None:
        """Begin to wait for the end, or cease to."""
        # Who was told to quit need not remember how anything ended.
        needed = self.running if self._dismissed else self._children or len(self._sockets)
        idle = not (self._visited or needed)
        if idle and self._idle is None:
            self._idle = self._tools.reactor.callLater(IDLE, self._finished)
        elif not idle and self._idle is not None:
            call, self._idle = self._idle, None
            if call.active():
                call.cancel()

    def __iter__(self) -> Iterator[Held]:
        return (child.held for child in self._children.values())


class Child(ProcessProtocol):
    """One process, living or ended. Its environment, which is large and secret, is not kept."""

    def __init__(self, keeper: Keeper, id: str) -> None:
        self._keeper = keeper
        self.held = Held(id, 0, "", 0.0)
        self.source: Any = None

    @property
    def words(self) -> str:
        return f"started, pid {self.held.pid}"

    def connectionMade(self) -> None:
        transport: Any = self.transport
        ref = trees.reference(transport.pid)
        self.held = evolve(self.held, pid=transport.pid, created=ref.created if ref else "")

    def processExited(self, reason: Failure) -> None:
        error = reason.value
        how = Exit(error.exitCode, error.signal) if isinstance(error, ProcessTerminated) else Exit(0)
        self._keeper.exited(self, how)


def _check_log(log: str) -> None:
    parts = log.split("/") if log else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Refused(f"{log[:80]!r} is no name of a log")
