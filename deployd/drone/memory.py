"""What an instance knows of its own past, in this life of the drone and for the next one."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from deployd.drone.attempt import Attempt
from deployd.drone.life import Life
from deployd.drone.means import Means
from deployd.drone.problem import Health, Problem
from deployd.model.instance import AssignedInstance, State
from deployd.model.role import StopRule
from deployd.planning.restarts import Past
from deployd.wire.keeping import Held


class Memory:
    """``life`` is what the journal has, or soon will; ``saved`` fires once it has.

    A disk that is full must not keep an app down, as leftovers are found without the journal.
    """

    _log = Logger()

    def __init__(self, means: Means, id: str, life: Life) -> None:
        self.life = life
        self.health = Health(Past(life.falls, life.faults), life.failures)
        self.tail = ""
        self.saved: Deferred[None] = succeed(None)
        self.started_at = 0.0
        self._means = means
        self._id = id

    @property
    def over(self) -> State | None:
        """Whether it is not started again by itself: it has failed, or it is done."""
        return State(self.life.over) if self.life.over else None

    @property
    def rule(self) -> StopRule | None:
        """How what was started last is to be stopped."""
        return self.life.line.settings.stop if self.life.line else None

    def recall(self, current: bool) -> None:
        """No process of it is left to go on; ``current``: its past is of the line that the instance has now."""
        if not current or self.life.passed:
            # What was well did not fall by itself.
            self.health.forgive()
        else:
            self.health.reason, self.tail = self.life.reason, self.life.tail

    def forgive(self, line: AssignedInstance) -> None:
        """Somebody wants it to be tried anew; what runs once has no second try in one generation."""
        if not (line.once and self.life.begun == line.generation):
            self.health.forgive()
            self.life = evolve(self.life, over="")

    def begun(self, line: AssignedInstance) -> Deferred[None]:
        """It is about to be started for the only time in this generation; fails with Refused, and then must not be."""
        self.life = evolve(self.life, begun=line.generation)
        return self._means.save(self._id, self.life)

    def until_saved(self) -> Deferred[None]:
        """Fires once the journal has it, or could not be written. Cancelling only stops waiting."""
        waiter: Deferred[None] = Deferred()

        def told(result: Any) -> Any:
            if not waiter.called:
                waiter.callback(None)
            return result

        self.saved.addBoth(told)
        return waiter

    def started(self, held: Held, attempt: Attempt) -> None:
        self.started_at = held.started
        self.health.started(self._now())
        self._save(
            port=attempt.port.number if attempt.port else 0,
            pid=held.pid,
            created=held.created,
            restarts=self.life.restarts + (self.life.pid != 0),
            line=attempt.line,
            host=attempt.place.host,
            bind=attempt.bind,
            passed=False,
            gone=False,
        )

    def taken_over(self, held: Held, line: AssignedInstance) -> None:
        """It has gone on while the drone was away."""
        self.started_at = held.started
        lived = max(0.0, (held.ended or self._means.wall()) - held.started)
        self.health.started(self._now() - lived)
        if self.life.passed:
            self.health.ready_at = self.health.started_at
        if self.life.pid != held.pid:
            self._save(pid=held.pid, created=held.created, line=line)

    def passed(self) -> None:
        """It is well, and from now on it may be in the port table: that the registry is away is not its fault."""
        self.health.ready(self._now())
        if not self.life.passed:
            self._save(passed=True)

    def leaving(self) -> None:
        """From now on it should not be in the port table."""
        if self.life.passed:
            self._save(passed=False)

    def ready(self) -> None:
        self.health.well()
        self.tail = ""

    def fell(self, problem: Problem, line: AssignedInstance, now: float) -> None:
        """It has ended or could not be started, as ``line``, at ``now``."""
        self.health.fell(problem, now)
        past = self.health.past
        over = ""
        if line.once and not problem.ours:
            over = State.FAILED.value
        elif past.hopeless(line.settings.give_up):
            over = State.FAILED.value
            self.health.reason = f"given up after {past.faults} starts in a row that failed: {problem.reason}"
        self._gone(over, line)

    def finished(self, line: AssignedInstance) -> None:
        """It has run once, and well."""
        self.health.well()
        self.tail = ""
        self._gone(State.DONE.value, line)

    def rested(self) -> None:
        """It was stopped, and nothing of it is left."""
        self.health.well()
        self.tail = ""
        self._save(passed=False, gone=True)

    def _gone(self, over: str, line: AssignedInstance) -> None:
        reason = self.health.reason
        self._save(passed=False, gone=True, over=over, line=line, reason=reason, tail=self.tail)

    def _save(self, **changes: Any) -> None:
        health, past = self.health, self.health.past
        changes |= {"falls": past.falls, "faults": past.faults, "failures": health.failures}
        self.life = evolve(self.life, **changes)
        self.saved = self._means.save(self._id, self.life)
        self.saved.addErrback(lambda failure: self._log.warn("{error}", error=failure.value))

    def _now(self) -> float:
        return float(self._means.reactor.seconds())
