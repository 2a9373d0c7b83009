"""One instance: the effects that its machine asks for, and what is reported of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd.drone.attempt import Attempt, prepare
from deployd.drone.custody import Kept, own_port
from deployd.drone.journal import Entry
from deployd.drone.machine import REPORTED, Machine
from deployd.drone.means import Means
from deployd.drone.problem import Health, Problem
from deployd.drone.row import Row
from deployd.drone.work import Work
from deployd.errors import DeploydError
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.planning.reconcile import Known
from deployd.processes import running
from deployd.processes.exits import Exit
from deployd.processes.ports import Port
from deployd.processes.trees import ProcessRef

PORTLESS_READY = 1.0
GRACE, LEFTOVER_GRACE, RETRY = 7.0, 2.0, 5.0


class Instance:
    """``entry`` is what the journal has of it; ``fresh`` says that no process of it can run yet.

    ``changed`` is called whenever ``observed`` may give something else; ``line`` and ``epoch`` are as last assigned.
    """

    _log = Logger()

    def __init__(self, means: Means, entry: Entry, fresh: bool, changed: Callable[[Instance], None]) -> None:
        self.line = entry.line
        self.epoch = entry.epoch
        self.doing: Goal | None = None
        self.orphan = False
        self.state = "new"
        self._means = means
        self._changed = changed
        self._machine = Machine(self)
        self._work = Work()
        self._attempt: Attempt | None = None
        self._process: running.AppProcess | None = None
        self._may_run = not fresh
        self._session = ProcessRef(entry.pid, entry.created) if entry.pid else None
        # A port that an app of the last drone may still use is nobody else's.
        self._port: Port | None = means.ports.adopt(entry.port) if entry.port else None
        self._saved: Deferred[None] = succeed(None)
        self._restarts = entry.restarts
        self._again = entry.pid != 0
        self._row = Row(means, entry.line.id)
        self._kept: Kept | None = None
        self._until_ended: list[Deferred[None]] = []
        self._health = Health()
        self._tail = ""
        self._output = means.output(entry.line.id)

    # What it is told.

    def start(self, line: AssignedInstance) -> None:
        self._told(line, Goal.RUN)
        self._health.forgive()
        self._machine.run()

    def restart(self, line: AssignedInstance) -> None:
        self._told(line, Goal.RUN)
        self._health.forgive()
        self._machine.restart()

    def drain(self, line: AssignedInstance) -> None:
        self._told(line, Goal.DRAIN)
        self._machine.drain()

    def stop(self, line: AssignedInstance) -> None:
        self._told(line, Goal.STOP)
        self._machine.stop()

    def ended(self) -> Deferred[None]:
        """Fires when it has stopped next."""
        waiter: Deferred[None] = Deferred()
        self._until_ended.append(waiter)
        return waiter

    def usurped(self, why: str) -> None:
        """Its port is no longer its own."""
        self._machine.failed(Problem(why))

    def leave(self) -> None:
        """Follow it no longer, but let what runs run."""
        self._work.drop()

    def forget(self) -> None:
        """Let its port rest: it is never started again."""
        self.leave()
        if self._port is not None:
            self._means.ports.release(self._port)

    # What is seen of it.

    @property
    def kept(self) -> Kept | None:
        """Its port, while it is or may soon be in the port table."""
        return self._kept if self.state in ("registering", "ready") else None

    def known(self) -> Known:
        return Known(self.line, self.epoch, self.doing, REPORTED[self.state], self.orphan)

    def observed(self) -> ObservedInstance:
        attempt, line, health = self._attempt, self.line, self._health
        return ObservedInstance(
            id=line.id,
            app=line.app,
            release=line.release,
            commit=line.commit,
            role=line.role,
            state=self._reported(),
            host=attempt.place.host if attempt and attempt.port else "",
            port=self._port.number if self._port else 0,
            pid=self._process.pid if self._process else 0,
            generation=attempt.line.generation if attempt else 0,
            restarts=self._restarts,
            failures=health.failures,
            fatal=health.fatal,
            reason=health.reason,
            tail=self._tail if health.reason else "",
            deregistered=self._row.freed,
        )

    def _reported(self) -> State:
        state = REPORTED[self.state]
        if self.orphan and state is not State.STOPPED:
            return State.ORPHAN
        # Sweeping and waiting no time before its first start is nothing to tell.
        return State.WAITING if state is State.BACKOFF and not self._health.reason else state

    # What its machine asks for.

    def enter(self, state: str) -> None:
        self._log.debug("{id} is {state}", id=self.line.id, state=state)
        self.state = state
        self._changed(self)

    def sweep(self) -> None:
        self._begin(self._end_tree(GRACE), lambda _: self._machine.ended())

    def wait(self) -> None:
        self._begin(self._pause(self._health.pause(self._means.jitter())), lambda _: self._machine.due())

    def prepare(self) -> None:
        self._begin(prepare(self._means, self.line, self._take_port), self._prepared)

    def spawn(self) -> None:
        attempt = self._attempt
        assert attempt is not None
        self._may_run = True
        try:
            self._process = self._spawn(attempt)
        except Exception as error:  # the kernel refuses in many ways
            self._machine.failed(Problem.of(error))
            return
        self._session = self._process.ref
        self._health.started(self._means.reactor.seconds())
        self._restarts += self._again
        self._again = True
        self._save()
        self.watch()

    def watch(self) -> None:
        self._row.freed = None
        self._begin(self._check(), lambda _: self._machine.passed())

    def register(self) -> None:
        self._begin(self._register(), lambda _: self._machine.registered())

    def rejoice(self) -> None:
        self._health.ready(self._means.reactor.seconds())
        self._tail = ""

    def deregister(self) -> None:
        self._begin(self._row.free(), lambda _: self._changed(self))

    def end(self) -> None:
        self._begin(self._free_and_end(), lambda _: self._machine.ended())

    def rest(self) -> None:
        self._health.well()
        self._tail = ""
        self._save()
        waiting, self._until_ended = self._until_ended, []
        for waiter in waiting:
            waiter.callback(None)

    def mourn(self, how: Exit) -> None:
        self._row.drop()
        self._begin(self._mourn(how, self._means.reactor.seconds()), lambda _: self._machine.ended())

    def bury(self, how: Exit) -> None:
        self._log.info("{id} {how}", id=self.line.id, how=how.text)
        self.end()

    def give_up(self, problem: Problem) -> None:
        # At once, not after its end: it may point to somebody else.
        self._row.drop()
        self._log.info("{id}: {reason}", id=self.line.id, reason=problem.reason)
        self._begin(self._give_up(problem, self._means.reactor.seconds()), lambda _: self._machine.ended())

    # How it does that.

    def _told(self, line: AssignedInstance, goal: Goal) -> None:
        self.line, self.doing = line, goal
        self._changed(self)

    def _begin(self, work: Coroutine[Any, Any, Any], done: Callable[[Any], None]) -> None:
        self._work.begin(work, done, lambda error: self._machine.failed(Problem.of(error)))

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await deferLater(self._means.reactor, seconds)

    def _prepared(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._machine.prepared()

    def _take_port(self) -> Port:
        """The port that it had, if nobody has taken it since: an app must not be confused with whoever has."""
        before, self._port = self._port, None
        if before is not None:
            self._means.ports.release(before)
        self._port = self._means.ports.allocate(before.number if before else None)
        return self._port

    def _spawn(self, attempt: Attempt) -> running.AppProcess:
        process: running.AppProcess | None = None

        def exited(how: Exit) -> None:
            if self._process is process:
                self._process = None
                self._machine.exited(how)

        reactor, line = self._means.reactor, attempt.line
        output = self._output.open()
        try:
            process = running.start(reactor, line.argv, attempt.env, str(attempt.cwd), output, exited)
        finally:
            os.close(output)
        return process

    def _save(self) -> None:
        """Save the process; a disk that is full must not keep an app down, as leftovers are found without it."""
        port, session = self._port.number if self._port else 0, self._session
        pid, created = (session.pid, session.created) if session else (0, "")
        self._saved = self._means.save(self.line.id, port, pid, created, self._restarts)
        self._saved.addErrback(lambda failure: self._log.warn("{error}", error=failure.value))

    async def _check(self) -> None:
        attempt, reactor = self._attempt, self._means.reactor
        assert attempt is not None
        if attempt.port is None:
            await deferLater(reactor, PORTLESS_READY)
            return
        bind = (attempt.bind, attempt.port.number)
        self._kept = await own_port(self._means, self.line.id, self._session, bind, self._say)

    async def _register(self) -> None:
        attempt = self._attempt
        assert attempt is not None
        await self._saved
        if attempt.port is not None:
            await self._row.put(attempt, self._refused)

    def _refused(self, error: DeploydError) -> None:
        self._say(f"the registry did not take its row: {error}")

    def _say(self, reason: str) -> None:
        if reason != self._health.reason:
            self._health.reason = reason
            self._changed(self)

    async def _free_and_end(self) -> None:
        if self._row.there or (self.doing is Goal.DRAIN and self._row.freed is None):
            await self._row.free_soon()
        await self._end_tree(GRACE)

    async def _mourn(self, how: Exit, now: float) -> None:
        # First its last words: the report that it failed is the one which a deploy's error shows.
        self._tail = await self._means.to_thread(self._output.tail)
        self._health.died(how, now)
        self._log.info("{id} {reason}", id=self.line.id, reason=self._health.reason)
        self._changed(self)
        await self._end_tree(LEFTOVER_GRACE)

    async def _give_up(self, problem: Problem, now: float) -> None:
        self._tail = await self._means.to_thread(self._output.tail) if self._process else ""
        self._health.fell(problem, now)
        self._changed(self)
        await self._end_tree(GRACE)

    async def _end_tree(self, grace: float) -> None:
        """End all that runs of it, and go on trying for as long as something will not die: never two of one."""
        while self._may_run:
            try:
                await self._means.end(self.line.id, self._session, grace)
            except CancelledError:
                raise
            except Exception as error:  # giving up here would leave it without anybody who ends it
                self._health.reason = Problem.of(error).reason
                self._changed(self)
                await deferLater(self._means.reactor, RETRY)
                continue
            self._may_run = False
        self._process = self._session = None
