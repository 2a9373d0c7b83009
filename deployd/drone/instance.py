"""One instance: the effects that its machine asks for, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd.drone.attempt import Attempt, gather, prepare
from deployd.drone.checking import until_ready, until_unhealthy
from deployd.drone.custody import Kept
from deployd.drone.journal import Entry
from deployd.drone.life import Found, found
from deployd.drone.machine import REPORTED, Machine
from deployd.drone.means import Means, Place
from deployd.drone.memory import Memory
from deployd.drone.problem import LOST, Problem, of_exit, of_single
from deployd.drone.process import RETRY, Events, Process, Running
from deployd.drone.row import Row
from deployd.drone.work import Work
from deployd.errors import DeploydError, NoAnswer
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.model.role import EXEC, StopRule
from deployd.planning.reconcile import Known, outdated
from deployd.processes.custody import described
from deployd.processes.exits import Exit
from deployd.processes.ports import Port
from deployd.processes.trees import ProcessRef
from deployd.wire.keeping import Held

LEFTOVER_GRACE = 2.0


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
        self._vigil = Work()
        self._attempt: Attempt | None = None
        self._memory = Memory(means, entry.line.id, entry.life)
        self._health = self._memory.health
        life = entry.life
        # A port that an app of the last drone may still use is nobody else's.
        self._port: Port | None = means.ports.adopt(life.port) if life.port else None
        # Whether the keeper has a socket that listens on it.
        self._listens = False
        self._row = Row(means, entry.line.id)
        self._kept: Kept | None = None
        self._until_ended: list[Deferred[None]] = []
        self._recalled = False
        self._building = ""
        events = Events(self._launched, lambda problem: self._machine.failed(problem), self._exited)
        before = ProcessRef(life.pid, life.created) if life.pid else None
        self._process = Process(means, entry.line.id, events, fresh, before)

    # What it is told.

    def recall(self) -> None:
        """Go on where the last life of the drone ended (Note [Taking over])."""
        memory, line = self._memory, self.line
        life = memory.life
        held = self._process.take_over()
        what = found(line, life, held)
        self._recalled = life.line is not None and not outdated(life.line, line)
        self._listens = held is not None and held.socket
        if what in (Found.OTHER, Found.OVER):
            memory.recall(self._recalled)
        elif what is Found.LOST:
            self._machine.failed(LOST)
        elif held is not None:
            self._attempt = Attempt(line, Place(life.host, "", ""), life.bind, self._port if line.port else None)
            memory.taken_over(held, line)
            self._machine.found()
            if held.ended:
                self._exited(Exit(held.code, held.signal))

    def start(self, line: AssignedInstance) -> None:
        recalled = self._recalled
        self._told(line, Goal.RUN)
        if not recalled:
            self._memory.forgive(line)
        self._machine.run()

    def restart(self, line: AssignedInstance) -> None:
        self._told(line, Goal.RUN)
        self._memory.forgive(line)
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

    def broken(self, why: str) -> None:
        """It must not go on: its port is no longer its own, or it uses more than it may."""
        self._machine.failed(Problem(why))

    def leave(self) -> None:
        """Follow it no longer, but let what runs run."""
        self._work.drop()
        self._vigil.drop()

    def forget(self) -> None:
        """Let its port rest: it is never started again."""
        self.leave()
        self._unlisten()
        self._means.keeper.forget(self.line.id)
        if self._port is not None:
            self._means.ports.release(self._port)

    # What is seen of it.

    @property
    def kept(self) -> Kept | None:
        """Its port, while it is or may soon be in the port table."""
        return self._kept if self.state in ("registering", "ready") else None

    @property
    def running(self) -> Running | None:
        """Its process, while it is to run."""
        held = self._process.held
        if held is None or self.state not in ("starting", "registering", "ready", "draining"):
            return None
        return Running(self._ran, ProcessRef(held.pid, held.created), held.started)

    def known(self) -> Known:
        return Known(self.line, self.epoch, self.doing, REPORTED[self.state], self.orphan)

    def observed(self) -> ObservedInstance:
        attempt, line, health = self._attempt, self.line, self._health
        ran = self._ran if self.state in ("failed", "done") else attempt.line if attempt else None
        return ObservedInstance(
            id=line.id,
            app=line.app,
            release=line.release,
            commit=line.commit,
            role=line.role,
            state=self._reported(),
            host=attempt.place.host if attempt and attempt.port else "",
            port=self._port.number if self._port else 0,
            pid=self._process.pid,
            generation=ran.generation if ran else 0,
            restarts=self._memory.life.restarts,
            failures=health.failures,
            fatal=health.fatal,
            reason=self._building or health.reason,
            tail=self._memory.tail if health.reason else "",
            deregistered=self._row.freed,
        )

    def _reported(self) -> State:
        state = State.BUILDING if self._building else REPORTED[self.state]
        if self.orphan and state is not State.STOPPED:
            return State.ORPHAN
        # Sweeping and waiting no time before its first start is nothing to tell.
        return State.WAITING if state is State.BACKOFF and not self._health.reason else state

    # What its machine asks for.

    def enter(self, state: str) -> None:
        self.state = state
        self._building = ""
        if state not in ("registering", "ready"):
            self._vigil.drop()
        self._changed(self)

    def sweep(self) -> None:
        self._begin(self._end_tree(self._rule), lambda _: self._swept())

    def wait(self) -> None:
        pause = self._health.past.pause(self._health.fatal, self._means.jitter())
        self._begin(self._pause(pause), lambda _: self._machine.due())

    def prepare(self) -> None:
        if self.line.once and self._memory.life.begun == self.line.generation:
            self._machine.failed(LOST)
        else:
            self._begin(self._prepare(self.line), self._prepared)

    def launch(self) -> None:
        assert self._attempt is not None
        self._process.launch(self._attempt)

    def resume(self) -> None:
        if self._memory.life.passed:
            self._machine.passed()
        else:
            self.watch()

    def watch(self) -> None:
        self._row.freed = None
        if self._process.held is not None:
            self._begin(self._check(self._process.held), lambda _: self._machine.passed())

    def register(self) -> None:
        stood = self._memory.life.passed
        self._memory.passed()
        self._vigil.begin(self._keep_watch(), lambda why: self._machine.failed(Problem(why)), self._failed)
        self._begin(self._register(stood), lambda _: self._machine.registered())

    def rejoice(self) -> None:
        self._memory.ready()

    def deregister(self) -> None:
        self._memory.leaving()
        self._begin(self._row.free(), lambda _: self._changed(self))

    def end(self) -> None:
        self._memory.leaving()
        self._begin(self._free_and_end(), lambda _: self._machine.ended())

    def rest(self) -> None:
        self._memory.rested()
        self.settle()
        waiting, self._until_ended = self._until_ended, []
        for waiter in waiting:
            waiter.callback(None)

    def settle(self) -> None:
        self._unlisten()
        self._forget_exit()

    def mourn(self, how: Exit) -> None:
        self._row.drop()
        self._begin(self._mourn(how, self._means.reactor.seconds()), lambda _: self._swept())

    def bury(self, how: Exit) -> None:
        self._log.info("{id} {how}", id=self.line.id, how=how.text)
        self.end()

    def fall(self, problem: Problem) -> None:
        # At once, not after its end: it may point to somebody else.
        self._row.drop()
        self._log.info("{id}: {reason}", id=self.line.id, reason=problem.reason)
        self._begin(self._fall(problem, self._means.reactor.seconds()), lambda _: self._swept())

    def abandon(self, problem: Problem) -> None:
        self._log.info("{id}: {reason}", id=self.line.id, reason=problem.reason)
        self.end()

    # How it does that.

    @property
    def _ran(self) -> AssignedInstance:
        """As what it was started, or tried to be, last."""
        return self._memory.life.line or self.line

    @property
    def _rule(self) -> StopRule:
        return self._ran.settings.stop

    def _told(self, line: AssignedInstance, goal: Goal) -> None:
        self.line, self.doing, self._recalled = line, goal, False
        self._changed(self)

    def _begin(self, work: Coroutine[Any, Any, Any], done: Callable[[Any], None]) -> None:
        self._work.begin(work, done, self._failed)

    def _failed(self, error: BaseException) -> None:
        self._machine.failed(Problem.of(error))

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await deferLater(self._means.reactor, seconds)

    def _build_says(self, text: str) -> None:
        self._building = text
        self._changed(self)

    async def _prepare(self, line: AssignedInstance) -> Attempt:
        attempt = await prepare(self._means, line, self._take_port, self._build_says)
        if line.once:
            await self._memory.begun(line)
        return attempt

    def _prepared(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._machine.prepared()

    def _take_port(self) -> Port:
        """The port that it had, if nobody has taken it since: an app must not be confused with whoever has."""
        if not self.line.settings.socket:
            self._unlisten()
        before, self._port = self._port, None
        if before is not None:
            self._means.ports.release(before)
        self._port = self._means.ports.allocate(before.number if before else None, held=self._listens)
        return self._port

    def _unlisten(self) -> None:
        if self._listens:
            self._listens = False
            self._means.keeper.unlisten(self.line.id)

    def _launched(self, held: Held) -> None:
        assert self._attempt is not None
        self._listens = held.socket
        self._memory.started(held, self._attempt)
        if not _asks_by_command(self._attempt.line):
            # Five hundred environments are much, and secrets should not lie about.
            self._attempt = evolve(self._attempt, env={})
        if self.state == "starting":
            self.watch()

    def _exited(self, how: Exit) -> None:
        if how.code is None and how.signal is None:
            self._listens = False
        self._machine.exited(how)

    async def _check(self, held: Held) -> None:
        if self._ran.once:
            within = self._ran.settings.within
            await self._pause(within - max(0.0, self._means.wall() - held.started))
            raise NoAnswer(f"{self._ran.role} command did not end within {within:g} s")
        session = self._process.session
        self._kept = await until_ready(self._means, await self._whole(), self.line.id, session, self._say)

    async def _whole(self) -> Attempt:
        """The attempt with what a check may need of it, which an earlier life of the drone has not left behind."""
        attempt = self._attempt
        assert attempt is not None
        while _asks_by_command(attempt.line) and not attempt.env:
            try:
                again = await gather(self._means, attempt.line, self._take_port_again, self._build_says)
                self._attempt = attempt = evolve(again, place=attempt.place, bind=attempt.bind)
            except DeploydError as error:
                self._say(str(error))
                await deferLater(self._means.reactor, RETRY)
        return attempt

    def _take_port_again(self) -> Port:
        assert self._port is not None
        return self._port

    async def _keep_watch(self) -> str:
        """Return why it is not well any more."""
        attempt, id, session = await self._whole(), self.line.id, self._process.session
        if attempt.port is not None and self._kept is None:
            bind = (attempt.bind, attempt.port.number)
            holding = await self._means.custody.holding(id, session, bind)
            if holding.stranger or not holding.sockets:
                return described(bind, holding)
            self._kept = Kept(id, session, bind, holding.sockets, holding.known)
        return await until_unhealthy(self._means, attempt, id, session)

    async def _register(self, stood: bool) -> None:
        attempt = self._attempt
        assert attempt is not None
        await self._memory.saved
        if attempt.port is not None:
            await self._row.put(attempt, self._refused, stood)

    def _refused(self, error: DeploydError) -> None:
        self._say(f"the registry did not take its row: {error}")

    def _say(self, reason: str) -> None:
        if reason != self._health.reason:
            self._health.reason = reason
            self._changed(self)
            if self._process.held is not None:
                Deferred.fromCoroutine(self._say_tail(reason))

    async def _say_tail(self, reason: str) -> None:
        tail = await self._read_tail()
        if self._health.reason == reason:
            self._memory.tail = tail
            self._changed(self)

    async def _read_tail(self) -> str:
        attempt = self._attempt
        if attempt is None:
            return ""
        tail: str = await self._means.to_thread(self._means.tail, attempt.log, self._memory.started_at)
        return tail

    async def _free_and_end(self) -> None:
        if self._row.there or (self.doing is Goal.DRAIN and self._row.freed is None):
            await self._row.free_soon()
        await self._end_tree(self._rule)

    async def _mourn(self, how: Exit, now: float) -> None:
        line = self._ran
        if line.once and how.code == 0 and how.signal is None:
            self._memory.finished(line)
        else:
            # First its last words: the report that it failed is the one which a deploy's error shows.
            self._memory.tail = await self._read_tail()
            problem = of_single(how, line.role) if line.once else of_exit(how, now - self._health.started_at)
            self._memory.fell(await self._explained(problem, how), line, now)
            self._log.info("{id} {reason}", id=line.id, reason=self._health.reason)
        self._forget_exit()
        self._changed(self)
        await self._end_tree(StopRule(self._rule.signal, min(LEFTOVER_GRACE, self._rule.grace)))

    async def _explained(self, problem: Problem, how: Exit) -> Problem:
        limits, isolation = self._ran.settings.limits, self._means.isolation
        if not limits.memory:
            return problem
        cause = await self._means.to_thread(isolation.cause, self.line.id, limits, how)
        return evolve(problem, reason=cause) if cause else problem

    async def _fall(self, problem: Problem, now: float) -> None:
        self._memory.tail = problem.tail or (await self._read_tail() if self._process.held else "")
        tried = self._ran if self._process.held else self.line
        if not (tried.once and self._memory.over):
            self._memory.fell(problem, tried, now)
        self._changed(self)
        await self._end_tree(self._rule)

    def _swept(self) -> None:
        over = self._memory.over
        if over is State.DONE:
            self._machine.finished()
        elif over is State.FAILED:
            self._machine.gave_up()
        else:
            self._machine.ended()

    def _forget_exit(self) -> None:
        """Once saved, its keeper need not know how it ended; with a socket, its record says that there is one."""
        if not self._listens:
            self._memory.saved.addCallback(lambda _: self._process.forget_exit())

    def _trouble(self, reason: str) -> None:
        self._health.reason = reason
        self._changed(self)

    async def _end_tree(self, rule: StopRule) -> None:
        await self._process.end(rule, self._trouble)


def _asks_by_command(line: AssignedInstance) -> bool:
    check = line.settings.check
    return check is not None and check.kind == EXEC
