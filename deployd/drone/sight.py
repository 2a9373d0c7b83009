"""What the hub is told of one instance."""

from __future__ import annotations

from attrs import frozen

from deployd.drone.attempt import Attempt
from deployd.drone.berth import Berth
from deployd.drone.memory import Memory
from deployd.drone.process import Process
from deployd.drone.row import Row
from deployd.model.instance import AssignedInstance, ObservedInstance, State


@frozen
class Sight:
    """The parts of an instance of which something is told."""

    memory: Memory
    process: Process
    berth: Berth
    row: Row

    def of(
        self, line: AssignedInstance, attempt: Attempt | None, state: State, generation: int, building: str
    ) -> ObservedInstance:
        """``generation`` is that of what runs, or of what has ended for good; ``building`` how far its build is."""
        health = self.memory.health
        return ObservedInstance(
            id=line.id,
            app=line.app,
            release=line.release,
            commit=line.commit,
            role=line.role,
            state=state,
            host=attempt.place.host if attempt and attempt.port else "",
            port=self.berth.number,
            pid=self.process.pid,
            generation=generation,
            restarts=self.memory.life.restarts,
            failures=health.failures,
            fatal=health.fatal,
            reason=building or health.reason,
            tail=self.memory.tail if health.reason else "",
            deregistered=self.row.freed,
        )
