"""What drains on one drone, and since when."""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from deployd.hub.alarm import Alarm
from deployd.hub.traffic import Traffic
from deployd.model.desired import Desired
from deployd.model.instance import AssignedInstance, Goal, State
from deployd.model.revision import Revision
from deployd.model.router import ReleaseKey
from deployd.planning.draining import SETTLE, Drain, drained, next_look
from deployd.planning.placement import Seen


@define
class _Begun:
    """``told`` is the assignment that said so first: an older report tells nothing of it."""

    release: ReleaseKey
    told: Revision
    since: float
    freed: float | None = None
    revision: Revision | None = None


class Drains:
    """``changed`` is called when more may be drained. After a restart of the hub every limit starts anew.

    Note [As of the last look]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~
    Between ``look`` and ``follow`` of one plan time passes, and a moment that came within it was not looked at. So the
    next one is sought from the last look on, not from now, or nobody would look until the limit.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, traffic: Traffic, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._traffic = traffic
        self._begun: dict[str, _Begun] = {}
        self._drained: set[str] = set()
        self._alarm = Alarm(clock, changed)
        self._looked = 0.0

    def __bool__(self) -> bool:
        return bool(self._begun)

    def look(self, desired: Desired, seen: Seen, reported: Revision) -> Collection[str]:
        """The ids that may be stopped, or started as something newer, for all that is known now."""
        now = self._looked = self._clock.seconds()
        if self._begun:
            self._hear(seen, reported)
            drains = self._drains(desired)
            found = drained(drains, now, self._settle())
            for each in drains:
                if each.id in found and not each.passed:
                    self._log.warn(
                        "{id} has drained for {limit:g} s: work may be cut off", id=each.id, limit=each.limit
                    )
            self._drained |= found
            self._alarm.set(next_look(drains, now, self._settle()))
        return self._drained

    def follow(self, desired: Desired, lines: Collection[AssignedInstance], told: Revision, seen: Seen) -> None:
        """These are assigned now."""
        draining = {line.id: line for line in lines if line.goal is Goal.DRAIN}
        self._begun = {id: begun for id, begun in self._begun.items() if id in draining}
        now = self._clock.seconds()
        for id, line in draining.items():
            if id not in self._begun:
                self._begun[id] = _Begun(ReleaseKey(line.app, line.release), told, now)
        if self._drained:
            self._drained &= {line.id for line in lines if _goes_on(line, seen)}
        # Note [As of the last look]
        self._alarm.set(next_look(self._drains(desired), self._looked, self._settle()) if self._begun else None)

    def is_drained(self, id: str) -> bool:
        return id in self._drained

    def close(self) -> None:
        self._alarm.set(None)

    def _hear(self, seen: Seen, reported: Revision) -> None:
        for id, begun in self._begun.items():
            one = seen.get(id)
            gone = one.deregistered if one is not None and one.state is State.DRAINING else None
            if gone is not None and begun.freed is None and reported.reached(begun.told):
                begun.freed, begun.revision = self._clock.seconds(), gone

    def _drains(self, desired: Desired) -> list[Drain]:
        return [
            Drain(
                id=id,
                release=begun.release,
                since=begun.since,
                limit=desired.policy(begun.release.app).drain,
                freed=begun.freed,
                passed=self._traffic.passed(id, begun.revision),
            )
            for id, begun in self._begun.items()
        ]

    def _settle(self) -> float:
        return SETTLE if self._traffic.live() else 0.0


def _goes_on(line: AssignedInstance, seen: Seen) -> bool:
    """Whether what was drained still has to be: told to stop, or to start anew and not seen to have done so."""
    if line.goal is Goal.RUN:
        return line.id in seen and seen[line.id].generation != line.generation
    return line.goal is Goal.STOP
