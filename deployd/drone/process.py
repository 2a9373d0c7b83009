"""The process of one instance, with all that it has started."""

from __future__ import annotations

import signal
from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.attempt import Attempt
from deployd.drone.means import Means
from deployd.drone.problem import Problem
from deployd.model.instance import AssignedInstance
from deployd.model.role import StopRule
from deployd.processes.exits import Exit
from deployd.processes.trees import ProcessRef
from deployd.wire.keeping import Held

RETRY = 5.0
NOTICED = 10.0


@frozen
class Events:
    """What an instance hears of its process: that it runs, that it cannot be started, and how it ended."""

    started: Callable[[Held], None]
    failed: Callable[[Problem], None]
    exited: Callable[[Exit], None]


@frozen
class Running:
    """``line`` is what it was started as, ``since`` when (seconds since 1970)."""

    line: AssignedInstance
    session: ProcessRef
    since: float


class Process:
    """``before`` is the process that an earlier life of the drone started; ``fresh``: nothing of it can run yet.

    Note [A start cannot be taken back]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Once the keeper was asked to start a process, it may start it a moment after somebody has looked and found none.
    So nobody gives up waiting for its answer, and an end first waits for that.
    """

    _log = Logger()

    def __init__(self, means: Means, id: str, events: Events, fresh: bool, before: ProcessRef | None) -> None:
        self.session = before
        self.held: Held | None = None
        self._means = means
        self._id = id
        self._events = events
        self._may_run = not fresh
        self._launching = False
        self._waiting: list[Deferred[None]] = []
        self._turn = 0

    @property
    def pid(self) -> int:
        return self.held.pid if self.held else 0

    def take_over(self) -> Held | None:
        """What the keeper has of it; ``exited`` is heard of one that lives."""
        held = self._means.keeper.take_over(self._id, self._hears())
        if held is not None:
            self._may_run = True
            self.session = ProcessRef(held.pid, held.created)
            self.held = None if held.ended else held
        return held

    def forget_exit(self) -> None:
        """Nobody needs to know any more how it ended."""
        if self.held is None and not self._launching:
            self._means.keeper.forget(self._id)

    def launch(self, attempt: Attempt) -> None:
        """Start it; the events tell the rest."""
        self._may_run = self._launching = True
        starting = self._means.keeper.start(attempt.launch(self._means.isolation), self._hears())
        starting.addCallbacks(self._started, self._not_started)
        starting.addErrback(lambda failure: self._log.failure("while starting {id}", failure=failure, id=self._id))

    async def end(self, rule: StopRule, trouble: Callable[[str], None]) -> None:
        """End all that runs of it, and go on trying for as long as something will not die: never two of one."""
        while self._launching:
            await self._next()
        while self._may_run:
            try:
                await self._means.end(self._id, self.session, rule.grace, _number(rule.signal))
            except CancelledError:
                raise
            except Exception as error:  # giving up here would leave it without anybody who ends it
                trouble(Problem.of(error).reason)
                await deferLater(self._means.reactor, RETRY)
                continue
            self._may_run = False
            await self._means.to_thread(self._tidy)
        await self._until_exited()
        self.session = None

    def _tidy(self) -> None:
        self._means.scratch.remove(self._id)
        self._means.isolation.remove(self._id)

    async def _until_exited(self) -> None:
        """The keeper starts no other one before it has noticed the end of this one."""
        late = self._means.reactor.callLater(NOTICED, self._wake)
        try:
            while self.held is not None and late.active():
                await self._next()
        finally:
            if late.active():
                late.cancel()
        self.held = None

    async def _next(self) -> None:
        """Return once something has changed."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)

    def _hears(self) -> Callable[[Exit], None]:
        self._turn += 1
        turn = self._turn

        def exited(how: Exit) -> None:
            if turn == self._turn and self.held is not None:
                self.held = None
                self._events.exited(how)
                self._wake()

        return exited

    def _started(self, held: Held) -> None:
        self.held = held
        self.session = ProcessRef(held.pid, held.created)
        self._launching = False
        self._events.started(held)
        self._wake()

    def _not_started(self, failure: Failure) -> None:
        self._launching = False
        assert failure.value is not None
        self._events.failed(Problem.of(failure.value))
        self._wake()


def _number(name: str) -> int:
    return int(getattr(signal, f"SIG{name}", signal.SIGTERM))
