"""Whether the process of one instance is well, and its last words if it is not."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd.drone.attempt import Attempt, gather
from deployd.drone.berth import Berth
from deployd.drone.checking import until_ready, until_unhealthy
from deployd.drone.custody import Kept
from deployd.drone.means import Means
from deployd.drone.memory import Memory
from deployd.drone.problem import Problem
from deployd.drone.process import RETRY, Process
from deployd.errors import DeploydError, NoAnswer
from deployd.model.instance import AssignedInstance
from deployd.model.role import EXEC
from deployd.processes.custody import described
from deployd.processes.exits import Exit


class Wellbeing:
    """``attempt`` is what runs, or will soon; ``kept`` its port, once its check has passed. ``changed`` is called when
    there is something to tell."""

    _log = Logger()

    def __init__(
        self, means: Means, memory: Memory, process: Process, berth: Berth, changed: Callable[[], None]
    ) -> None:
        self.attempt: Attempt | None = None
        self.kept: Kept | None = None
        self._means = means
        self._memory = memory
        self._process = process
        self._berth = berth
        self._changed = changed

    @property
    def runs(self) -> Attempt:
        assert self.attempt is not None
        return self.attempt

    def forget_environment(self) -> None:
        """Five hundred of them are much, and secrets should not lie about."""
        if not _asks_by_command(self.runs.line):
            self.attempt = evolve(self.runs, env={})

    async def until_passed(self) -> None:
        """Return once it is ready; raise NoAnswer. What runs once never is, it has only so long."""
        line, means = self.runs.line, self._means
        if line.once:
            within = line.settings.within
            await deferLater(means.reactor, max(0.0, self._memory.started_at + within - means.wall()))
            raise NoAnswer(f"did not end within {within:g} s")
        self.kept = await until_ready(means, await self._whole(), line.id, self._process.session, self.say)

    async def until_unwell(self) -> str:
        """Return why it is not well any more."""
        attempt, session = await self._whole(), self._process.session
        id = attempt.line.id
        if attempt.port is not None and self.kept is None:
            # An earlier life of the drone has seen it pass.
            bind = (attempt.bind, attempt.port.number)
            holding = await self._means.custody.holding(id, session, bind)
            if holding.stranger or not holding.sockets:
                return described(bind, holding)
            self.kept = Kept(id, session, bind, holding.sockets, holding.known)
        return await until_unhealthy(self._means, attempt, id, session)

    def say(self, reason: str) -> None:
        """Tell ``reason``, and then the last output with it."""
        if reason != self._memory.health.reason:
            self._memory.health.reason = reason
            self._changed()
            if self._process.held is not None:
                Deferred.fromCoroutine(self._say_tail(reason))

    async def last_words(self) -> str:
        """What it has printed last, if that can be read."""
        if self.attempt is None:
            return ""
        try:
            words: str = await self._means.to_thread(self._means.tail, self.attempt.log, self._memory.started_at)
        except OSError as error:
            # It must be swept and started again all the same.
            self._log.warn("cannot read {log}: {error}", log=self.attempt.log, error=error.strerror)
            return ""
        return words

    async def explained(self, problem: Problem, how: Exit) -> Problem:
        """``problem`` of an exit with what the machine knows of it: that there was no memory left."""
        limits = self.runs.line.settings.limits
        if not limits.memory:
            return problem
        cause = await self._means.to_thread(self._means.isolation.cause, self.runs.line.id, limits, how)
        return evolve(problem, reason=cause) if cause else problem

    async def _say_tail(self, reason: str) -> None:
        tail = await self.last_words()
        if self._memory.health.reason == reason:
            self._memory.tail = tail
            self._changed()

    async def _whole(self) -> Attempt:
        """The attempt with what a check may need of it, which an earlier life of the drone has not left behind."""
        attempt = self.runs
        while _asks_by_command(attempt.line) and not attempt.env:
            try:
                again = await gather(self._means, attempt.line, self._berth.again, lambda _: None)
                self.attempt = attempt = evolve(again, place=attempt.place, bind=attempt.bind)
            except DeploydError as error:
                self.say(str(error))
                await deferLater(self._means.reactor, RETRY)
        return attempt


def _asks_by_command(line: AssignedInstance) -> bool:
    check = line.settings.check
    return check is not None and check.kind == EXEC
