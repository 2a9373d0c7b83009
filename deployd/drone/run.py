"""One command that somebody has the drone run, and watches: ``deployctl exec``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from signal import SIGTERM
from typing import Any, Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.attempt import prepare
from deployd.drone.means import Means
from deployd.drone.problem import Outage
from deployd.errors import DeploydError, InternalError, Refused
from deployd.model.instance import AssignedInstance
from deployd.processes.exits import Exit
from deployd.processes.ports import Port
from deployd.processes.trees import ProcessRef

IDLE = 30.0
"""Seconds without a word of whoever watches, after which nobody does."""
CHUNK = 48 * 1024
MAX_EARLY = 256 * 1024
"""Bytes of input for a command that has not started yet."""
GRACE = 5.0
LAST_OUTPUT = 5.0
"""Seconds after the end of all its processes in which its output should end too."""
LONGEST_WAIT = 20.0


class Pipes(Protocol):
    """The streams of a process (deployd.processes.streams)."""

    @property
    def theirs(self) -> tuple[int, int, int]: ...
    @property
    def empty(self) -> bool: ...
    @property
    def over(self) -> bool: ...
    @property
    def room(self) -> bool: ...
    def close_theirs(self) -> None: ...
    def take(self, most: int) -> tuple[bytes, bytes]: ...
    def write(self, data: bytes) -> None: ...
    def end_input(self) -> None: ...
    def close(self) -> None: ...


@frozen
class Told:
    """What a run has to say (wire.fleet.ReadRun)."""

    stdout: bytes = field(default=b"", repr=False)
    stderr: bytes = field(default=b"", repr=False)
    ended: bool = False
    code: int = 0
    failed: str = ""

    def __bool__(self) -> bool:
        return bool(self.stdout or self.stderr or self.ended or self.failed)


class Run:
    """``pipes(changed)`` opens the streams of a new process. ``gone`` is called once nothing of it is left, nor
    anything of it untold."""

    _log = Logger()

    def __init__(
        self,
        means: Means,
        line: AssignedInstance,
        env: Mapping[str, str],
        pipes: Callable[[Callable[[], None]], Pipes],
        gone: Callable[[Run], None],
    ) -> None:
        self.id = line.id
        self._means = means
        self._line = line
        self._env = env
        self._open = pipes
        self._gone = gone
        self._clock: Any = IReactorTime(means.reactor)
        self._pipes: Pipes | None = None
        self._early = b""
        self._early_end = False
        self._session: ProcessRef | None = None
        self._exit: Exit | None = None
        self._swept = False
        self._failed = ""
        self._unwanted = False
        self._waiting: list[Deferred[None]] = []
        self._idle: IDelayedCall | None = self._clock.callLater(IDLE, self._abandoned)
        self._closing: IDelayedCall | None = None

    def start(self) -> None:
        starting = Deferred.fromCoroutine(self._start())
        starting.addErrback(self._fail)

    # Whoever watches.

    async def read(self, wait: float) -> Told:
        """What it has printed, or how it has ended; nothing after ``wait`` seconds."""
        self._touch()
        if not (told := self._told()) and wait > 0:
            await self._change(wait)
            self._touch()
            told = self._told()
        if told.ended or told.failed:
            self._leave()
        return told

    async def write(self, data: bytes, end: bool) -> bool:
        """Give it input; whether there is room for more, once there is, or after a while without."""
        self._touch()
        if self._pipes is None:
            if len(self._early) + len(data) > MAX_EARLY:
                raise Refused("too much input for a command that has not started yet")
            self._early += data
            self._early_end = self._early_end or end
        else:
            self._write(data, end)
        deadline = self._clock.seconds() + LONGEST_WAIT
        while not (room := self._has_room()) and (left := deadline - self._clock.seconds()) > 0:
            await self._change(left)
        self._touch()
        return room

    def end(self, grace: float = GRACE) -> None:
        """Nobody wants it any more."""
        self._unwanted = True
        if self._failed or (self._swept and self._exit is not None):
            self._leave()
        elif self._session is not None and self._exit is None:
            ending = self._means.end(self.id, self._session, grace, SIGTERM)
            ending.addErrback(lambda failure: self._log.warn("{error}", error=failure.value))
        self._news()

    # What it goes through.

    async def _start(self) -> None:
        attempt = await prepare(self._means, self._line, _no_port, lambda text: None)
        if self._unwanted:
            raise Refused("it was given up before it started")
        pipes = self._pipes = self._open(self._news)
        launch = evolve(attempt.launch(self._means.isolation, self._env), log="")
        try:
            held = await self._means.keeper.attach(launch, pipes.theirs, self._exited)
        except Outage:
            # It may have been started all the same.
            await self._means.end(self.id, None, 0.0)
            raise
        finally:
            pipes.close_theirs()
        self._session = ProcessRef(held.pid, held.created)
        self._write(self._early, self._early_end)
        self._early = b""
        if self._unwanted:
            self.end()
        self._news()

    def _exited(self, how: Exit) -> None:
        self._exit = how
        if how.code is None and how.signal is None:
            self._failed = "the drone's keeper, its parent, has died"
        sweeping = Deferred.fromCoroutine(self._sweep())
        sweeping.addErrback(lambda failure: self._log.warn("{id}: {error}", id=self.id, error=failure.value))
        sweeping.addCallback(lambda _: self._last_words())

    async def _sweep(self) -> None:
        """What it has started and left behind goes too."""
        self._means.keeper.forget(self.id)
        await self._means.end(self.id, self._session, GRACE, SIGTERM)
        await self._means.to_thread(self._tidy)

    def _tidy(self) -> None:
        self._means.scratch.remove(self.id)
        self._means.isolation.remove(self.id)

    def _last_words(self) -> None:
        self._swept = True
        self._close_later()
        if self._unwanted:
            self._leave()
        self._news()

    def _close_later(self) -> None:
        """Its output ends with its last process, unless a stranger was given it."""
        self._closing = self._clock.callLater(LAST_OUTPUT, self._close)

    def _close(self) -> None:
        assert self._pipes is not None
        if self._pipes.empty:
            self._closing = None
            self._pipes.close()
        else:
            self._close_later()

    def _fail(self, failure: Failure) -> None:
        if failure.check(DeploydError):
            self._failed = str(failure.value)
        else:
            self._log.failure("{id} cannot be run", failure=failure, id=self.id)
            self._failed = str(InternalError())
        if self._pipes is not None:
            self._pipes.close()
        self._means.to_thread(self._tidy)
        if self._unwanted:
            self._leave()
        self._news()

    def _leave(self) -> None:
        """All is told, or nobody asks."""
        for timer in (self._idle, self._closing):
            if timer is not None and timer.active():
                timer.cancel()
        if self._pipes is not None:
            self._pipes.close()
        self._gone(self)

    # Between the two.

    def _told(self) -> Told:
        if self._pipes is None:
            return Told(failed=self._failed)
        stdout, stderr = self._pipes.take(CHUNK)
        if not (self._swept or self._failed) or not self._pipes.over:
            return Told(stdout, stderr)
        if self._failed:
            return Told(stdout, stderr, failed=self._failed)
        assert self._exit is not None
        code = self._exit.code if self._exit.code is not None else 128 + (self._exit.signal or 0)
        return Told(stdout, stderr, True, code)

    def _write(self, data: bytes, end: bool) -> None:
        assert self._pipes is not None
        if data:
            self._pipes.write(data)
        if end:
            self._pipes.end_input()

    def _has_room(self) -> bool:
        if self._failed or self._exit is not None:
            return True
        return self._pipes is not None and self._session is not None and self._pipes.room

    def _news(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    async def _change(self, wait: float) -> None:
        """Until something has changed, or ``wait`` seconds."""
        waiter: Deferred[None] = Deferred(lambda waiter: self._waiting.remove(waiter))
        self._waiting.append(waiter)
        await waiter.addTimeout(min(wait, LONGEST_WAIT), self._clock, lambda result, _: None)

    def _touch(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.reset(IDLE)

    def _abandoned(self) -> None:
        self._log.info("{id} is ended: nobody watches it", id=self.id)
        self.end()


def _no_port() -> Port:
    raise AssertionError("a command that is run has no port")
