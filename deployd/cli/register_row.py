"""A row that stands in the registry for as long as something listens, and the program that does."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from deployd.errors import DeploydError, Refused, Superseded
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.planning.restarts import Past
from deployd.processes.exits import Exit

FIRST_LOOK, STEADY_LOOK = 0.05, 0.5
SLOW = 10.0
"""Seconds without a listener after which that is worth a word."""

Check = Callable[[bool], Awaitable[str]]
"""``check(first)``: why nobody listens there, "" if somebody does; ``first``: nobody did so far."""


class Program(Protocol):
    """COMMAND (deployd.cli.register_program); ``port`` is where it was told to listen."""

    @property
    def port(self) -> int: ...
    def start(self, ended: Callable[[Exit], None]) -> None: ...
    def end(self, grace: float) -> Deferred[None]: ...


class Rows(Protocol):
    """What ``deployd.client.owner.OwnedRows`` is here."""

    host: str

    def startService(self) -> None: ...
    def stopService(self) -> Deferred[None]: ...
    def put(self, row: Registration, standing: bool = False) -> Deferred[Revision]: ...
    def free(self, row_id: str) -> Deferred[Revision]: ...
    def leave(self) -> Deferred[None]: ...


class Words(Protocol):
    """Who hears what happens (deployd.cli.register_voice)."""

    def put(self, row: Registration, revision: Revision) -> None: ...
    def freed(self, row: Registration) -> None: ...
    def note(self, sentence: str) -> None: ...


@frozen
class Terms:
    """``grace``: seconds between TERM and KILL; ``again``: an earlier run may have registered the same row."""

    restart: bool = True
    grace: float = 10.0
    again: bool = False


class Standing:
    """Starts ``program`` (None: it runs already, elsewhere), and keeps ``row`` registered while ``check`` finds it.

    Note [No gap, and no fight]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~
    The registry is only told once the program listens: what an earlier run with the same key has registered stays as
    it is until then, and is replaced in one change. The earlier run, whose session the registry ends with that, looks
    before it comes back: where its row is another's by then, it ends. Who has registered nothing yet does not look. So
    of any number of runs the last one that became ready stays, and none takes over twice.
    """

    def __init__(
        self,
        clock: IReactorTime,
        rows: Rows,
        row: Registration,
        check: Check,
        program: Program | None,
        words: Words,
        terms: Terms,
        jitter: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._rows = rows
        self.row = row
        self._check = check
        self._program = program
        self._words = words
        self._terms = terms
        self._jitter = jitter
        self._began = False
        self._up_since: float | None = None
        self._exit: Exit | None = None
        self._code: int | None = None
        self._error: DeploydError | None = None
        self._changed: Deferred[None] = Deferred()
        self.ports = {row.port}
        """All that this run has had."""
        self.has_stood = False
        """Whether the registry has ever acknowledged the row."""

    # What happens to it.

    def stop(self, code: int) -> None:
        """End everything in order, ``run`` gives ``code`` then; asked again, at once."""
        if self.over and self._program is not None:
            self._program.end(0.0).addErrback(lambda failure: failure.trap(DeploydError))
        if self._code is None:
            self._code = code
        self._news()

    def fail(self, error: DeploydError) -> None:
        """End everything; ``run`` raises ``error`` then."""
        if self._error is None:
            self._error = error
        self._news()

    # Its life.

    async def run(self) -> int:
        """Until it is stopped, has failed, or the program has ended for good; the exit code."""
        try:
            code = await self._live()
        except DeploydError as error:
            self.fail(error)
            code = error.exit_code
        self._up_since = None
        if self._began:
            await (self._rows.stopService() if isinstance(self._error, Superseded) else self._rows.leave())
        if self._program is not None:
            await self._program.end(self._terms.grace)
        if self._error is not None:
            raise self._error
        return code if self._code is None else self._code

    @property
    def over(self) -> bool:
        return self._code is not None or self._error is not None

    async def _live(self) -> int:
        past = Past()
        while not self.over:
            begun = self._clock.seconds()
            self._exit, ready = None, math.inf
            try:
                if self._program is not None:
                    self._program.start(self._ended)
                    self.row = evolve(self.row, port=self._program.port)
                    self.ports.add(self.row.port)
                ready = await self._watch()
            except Refused as error:
                if not past.falls:
                    raise
                why = str(error)
            else:
                why = self._ended_how()
            if self.over:
                break
            if self._program is not None:
                # What it has left behind may have the port still.
                await self._program.end(self._terms.grace)
            if not self._terms.restart:
                return _code(self._exit)
            past = past.after(max(0.0, self._clock.seconds() - max(ready, begun)), ours=True)
            pause = past.pause(False, self._jitter())
            self._words.note(f"{why}; starting it again in {pause:.1f} s")
            await self._until(self._clock.seconds() + pause)
        return 0

    def _ended_how(self) -> str:
        return f"the command {self._exit.text}" if self._exit is not None else "nothing runs"

    async def _watch(self) -> float:
        """Until the program has ended, or all is over; when it became ready first."""
        pause, slow = FIRST_LOOK, self._clock.seconds() + SLOW
        ready = math.inf
        while self._exit is None and not self.over:
            why = await self._check(self._up_since is None)
            if self._exit is not None or self.over:
                break
            now = self._clock.seconds()
            if why:
                self._free()
                if now >= slow:
                    slow = math.inf
                    self._words.note(f"{why}, so nothing is registered yet")
            elif self._up_since is None:
                ready, slow = min(ready, now), math.inf
                self._put(now)
            await self._pause(pause)
            pause = STEADY_LOOK if self._up_since is not None else min(pause * 1.5, STEADY_LOOK)
        return ready

    def _ended(self, how: Exit) -> None:
        self._exit = how
        self._free()
        self._news()

    # Its row.

    def _put(self, now: float) -> None:
        self._up_since = now
        putting = self._rows.put(self.row, standing=self._terms.again and not self._began)
        putting.addCallbacks(self._registered, self._refused)
        if not self._began:
            self._began = True
            self._rows.startService()

    def _registered(self, revision: Revision) -> None:
        self.has_stood = True
        self._words.put(self.row, revision)

    def _refused(self, failure: Failure) -> None:
        failure.trap(DeploydError, CancelledError)
        # Not for one that was freed meanwhile.
        if self._up_since is not None and isinstance(failure.value, DeploydError):
            self.fail(failure.value)

    def _free(self) -> None:
        if self._up_since is None:
            return
        self._up_since = None
        freeing = self._rows.free(self.row.id)
        freeing.addCallbacks(
            lambda _: self._words.freed(self.row), lambda failure: failure.trap(DeploydError, CancelledError)
        )

    # Waiting.

    def _news(self) -> None:
        changed, self._changed = self._changed, Deferred()
        changed.callback(None)

    async def _pause(self, seconds: float) -> None:
        """That long, or until something has happened."""
        if self._exit is not None or self.over:
            return
        waiter: Deferred[None] = Deferred()
        self._changed.addCallback(lambda _: None if waiter.called else waiter.callback(None))
        waiter.addTimeout(seconds, self._clock, lambda result, _: None)
        await waiter

    async def _until(self, moment: float) -> None:
        """Wait, unless all is over."""
        self._exit = None
        while not self.over and (left := moment - self._clock.seconds()) > 0:
            await self._pause(left)


def _code(how: Exit | None) -> int:
    """As a shell says it."""
    if how is None:
        return 0
    return how.code if how.code is not None else 128 + (how.signal or 0)
