"""What follows an end of one instance: of its process, or of an attempt to start one."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from deployd.drone.berth import Berth
from deployd.drone.logs import log_name
from deployd.drone.means import Means
from deployd.drone.memory import Memory
from deployd.drone.problem import Problem, of_exit, of_single
from deployd.drone.process import Process
from deployd.drone.wellbeing import Wellbeing
from deployd.model.instance import AssignedInstance
from deployd.model.role import StopRule
from deployd.processes.exits import Exit

LEFTOVER_GRACE = 2.0


class Ends:
    """``changed`` is called when there is something to tell. Times are seconds of the reactor's clock.

    Note [Why it was ended]
    ~~~~~~~~~~~~~~~~~~~~~~~
    What is reported has the reason only until the instance is well again. So its log has it, too, where its keeper
    notes no more than how the process has ended.
    """

    _log = Logger()

    def __init__(
        self,
        means: Means,
        memory: Memory,
        process: Process,
        berth: Berth,
        wellbeing: Wellbeing,
        changed: Callable[[], None],
    ) -> None:
        self._means = means
        self._memory = memory
        self._process = process
        self._berth = berth
        self._wellbeing = wellbeing
        self._changed = changed

    async def exited(self, how: Exit, line: AssignedInstance, now: float) -> None:
        """Its process, started as ``line``, has ended at ``now``: note how, and end what it has left behind."""
        memory = self._memory
        if line.once and how.code == 0 and how.signal is None:
            memory.finished(line)
        else:
            # First its last words: the report that it failed is the one which a deploy's error shows.
            memory.tail = await self._wellbeing.last_words()
            problem = of_single(how) if line.once else of_exit(how, now - memory.health.started_at)
            known = await self._wellbeing.explained(problem, how)
            memory.fell(known, line, now)
            lost = how.code is None and how.signal is None
            if lost or known is not problem or (memory.over and not line.once):
                self.remark(memory.health.reason, line)
            self._log.info("{id} {reason}", id=line.id, reason=memory.health.reason)
        self.settle()
        self._changed()
        rule = line.settings.stop
        await self.sweep(StopRule(rule.signal, min(LEFTOVER_GRACE, rule.grace)))

    async def failed(self, problem: Problem, line: AssignedInstance, now: float) -> None:
        """It could not be started as ``line``, or what runs is not well: note why, and end what there is of it."""
        memory, ran = self._memory, self._process.held is not None
        memory.tail = problem.tail or (await self._wellbeing.last_words() if ran else "")
        if not (line.once and memory.over):
            memory.fell(problem, line, now)
            if ran or memory.over:
                self.remark(memory.health.reason, line)
        self._changed()
        await self.sweep(line.settings.stop)

    def remark(self, why: str, line: AssignedInstance) -> None:
        """Note in the log of what was started as ``line`` why it was ended, or is not started any more."""
        self._means.keeper.remark(log_name(line.app, line.release, line.commit, line.id), why)

    def sweep(self, rule: StopRule) -> Deferred[None]:
        """Fires once nothing of it runs."""
        return Deferred.fromCoroutine(self._process.end(rule, self._trouble))

    def settle(self) -> None:
        """Once saved, its keeper need not know how it ended; with a socket, its record says that there is one."""
        if not self._berth.listens:
            self._memory.saved.addCallback(lambda _: self._process.forget_exit())

    def _trouble(self, reason: str) -> None:
        self._memory.health.reason = reason
        self._changed()
