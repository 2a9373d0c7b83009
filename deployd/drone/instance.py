"""One instance: the effects that its machine asks for, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd.drone.attempt import Attempt, prepare
from deployd.drone.berth import Berth
from deployd.drone.custody import Kept
from deployd.drone.ends import Ends
from deployd.drone.journal import Entry
from deployd.drone.life import Found, found
from deployd.drone.machine import REPORTED, Machine
from deployd.drone.means import Means, Place
from deployd.drone.memory import Memory
from deployd.drone.problem import LOST, Problem
from deployd.drone.process import Events, Process, Running
from deployd.drone.row import Row
from deployd.drone.sight import Sight
from deployd.drone.wellbeing import Wellbeing
from deployd.drone.work import Work
from deployd.errors import DeploydError
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.planning.reconcile import Known, outdated
from deployd.processes.exits import Exit
from deployd.processes.trees import ProcessRef
from deployd.wire.keeping import Held


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
        life, id = entry.life, entry.line.id
        self._memory = Memory(means, id, life)
        self._health = self._memory.health
        self._berth = Berth(means, id, life.port)
        self._row = Row(means, id)
        self._until_ended: list[Deferred[None]] = []
        self._recalled = False
        self._building = ""
        events = Events(self._launched, self._not_launched, self._exited)
        before = ProcessRef(life.pid, life.created) if life.pid else None
        self._process = Process(means, id, events, fresh, before)
        own = (self._memory, self._process, self._berth)
        self._wellbeing = Wellbeing(means, *own, lambda: changed(self))
        self._ends = Ends(means, *own, self._wellbeing, lambda: changed(self))

    # What it is told.

    def recall(self) -> None:
        """Go on where the last life of the drone ended (Note [Taking over])."""
        memory, line = self._memory, self.line
        life = memory.life
        held = self._process.take_over()
        what = found(line, life, held)
        self._recalled = life.line is not None and not outdated(life.line, line)
        self._berth.listens = held is not None and held.socket
        if what in (Found.OTHER, Found.OVER):
            memory.recall(self._recalled)
        elif what is Found.LOST:
            self._machine.failed(LOST)
        elif held is not None:
            port = self._berth.port if line.port else None
            self._wellbeing.attempt = Attempt(line, Place(life.host, "", ""), life.bind, port)
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
        self._berth.give_back()
        self._means.keeper.forget(self.line.id)

    # What is seen of it.

    @property
    def kept(self) -> Kept | None:
        """Its port, while it is or may soon be in the port table."""
        return self._wellbeing.kept if self.state in ("registering", "ready") else None

    @property
    def running(self) -> Running | None:
        """Its process, while it is to run."""
        held, session = self._process.held, self._process.session
        if held is None or session is None or self.state not in ("starting", "registering", "ready", "draining"):
            return None
        return Running(self._ran, session, held.started)

    def known(self) -> Known:
        return Known(self.line, self.epoch, self.doing, REPORTED[self.state], self.orphan)

    def observed(self) -> ObservedInstance:
        attempt = self._wellbeing.attempt
        ran = self._ran if self.state in ("failed", "done") else attempt.line if attempt else None
        seen = Sight(self._memory, self._process, self._berth, self._row)
        return seen.of(self.line, attempt, self._reported(), ran.generation if ran else 0, self._building)

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
        self._begin(self._sweep(), lambda _: self._swept())

    def wait(self) -> None:
        pause = self._health.past.pause(self._health.fatal, self._means.jitter())
        self._begin(self._pause(pause), lambda _: self._machine.due())

    def prepare(self) -> None:
        if self.line.once and self._memory.life.begun == self.line.generation:
            self._machine.failed(LOST)
        else:
            self._begin(self._prepare(self.line), self._prepared)

    def launch(self) -> None:
        self._process.launch(self._wellbeing.runs)

    def resume(self) -> None:
        if self._memory.life.passed:
            self._machine.passed()
        else:
            self.watch()

    def watch(self) -> None:
        self._row.freed = None
        if self._process.held is not None:
            self._begin(self._wellbeing.until_passed(), lambda _: self._machine.passed())

    def register(self) -> None:
        stood = self._memory.life.passed
        self._memory.passed()
        self._vigil.begin(self._wellbeing.until_unwell(), lambda why: self._machine.failed(Problem(why)), self._failed)
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
        self._berth.unlisten()
        self._ends.settle()

    def mourn(self, how: Exit) -> None:
        self._row.drop()
        self._begin(self._ends.exited(how, self._ran, self._means.reactor.seconds()), lambda _: self._swept())

    def bury(self, how: Exit) -> None:
        self._log.info("{id} {how}", id=self.line.id, how=how.text)
        self.end()

    def fall(self, problem: Problem) -> None:
        # At once, not after its end: it may point to somebody else.
        self._row.drop()
        self._log.info("{id}: {reason}", id=self.line.id, reason=problem.reason)
        tried = self._ran if self._process.held else self.line
        self._begin(self._ends.failed(problem, tried, self._means.reactor.seconds()), lambda _: self._swept())

    def abandon(self, problem: Problem) -> None:
        self._log.info("{id}: {reason}", id=self.line.id, reason=problem.reason)
        self._ends.remark(problem.reason, self._ran)
        self.end()

    # How it does that.

    @property
    def _ran(self) -> AssignedInstance:
        """As what it was started, or tried to be, last."""
        return self._memory.life.line or self.line

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
        attempt = await prepare(self._means, line, lambda: self._berth.take(line.settings.socket), self._build_says)
        if line.once:
            await self._memory.begun(line)
        return attempt

    def _prepared(self, attempt: Attempt) -> None:
        self._wellbeing.attempt = attempt
        self._machine.prepared()

    def _launched(self, held: Held) -> None:
        self._berth.listens = held.socket
        self._memory.started(held, self._wellbeing.runs)
        self._wellbeing.forget_environment()
        if self.state == "starting":
            self.watch()

    def _not_launched(self, problem: Problem) -> None:
        # Its socket may be what was wrong: the next start finds a port that is free.
        self._berth.unlisten()
        self._machine.failed(problem)

    def _exited(self, how: Exit) -> None:
        if how.code is None and how.signal is None:
            self._berth.listens = False
        self._machine.exited(how)

    async def _register(self, stood: bool) -> None:
        attempt = self._wellbeing.runs
        await self._memory.until_saved()
        if attempt.port is not None:
            await self._row.put(attempt, self._refused, stood)

    def _refused(self, error: DeploydError) -> None:
        self._wellbeing.say(f"the registry did not take its row: {error}")

    async def _sweep(self) -> None:
        await self._ends.sweep(self._ran.settings.stop)

    async def _free_and_end(self) -> None:
        if self._row.there or (self.doing is Goal.DRAIN and self._row.freed is None):
            await self._row.free_soon()
        await self._sweep()

    def _swept(self) -> None:
        over = self._memory.over
        if over is State.DONE:
            self._machine.finished()
        elif over is State.FAILED:
            self._machine.gave_up()
        else:
            self._machine.ended()
