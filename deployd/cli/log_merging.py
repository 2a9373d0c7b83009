"""The lines of several drones, in the order of time; pure: whoever uses it says what time it is."""

from __future__ import annotations

from heapq import heappop, heappush

from attrs import define, field

from deployd.cli.log_lines import Assembly, Line, Source
from deployd.processes.records import Record

HOLD = 0.5
MAX_HELD = 5000
RECENT = 1_000_000
"""Microseconds: an older line without an end holds nobody up."""
NEVER = 2**63


@define
class _Drone:
    """``told``: all up to that stamp is known; ``behind``: more is there already; ``gone``: nothing will come."""

    assembly: Assembly = field(factory=Assembly)
    told: int = -1
    held: int = 0
    behind: bool = True
    gone: bool = False

    @property
    def known(self) -> int:
        """Up to which stamp its lines are known."""
        if self.gone:
            return NEVER
        oldest = self.assembly.oldest
        if oldest is None or self.held >= MAX_HELD or self.told - oldest > RECENT:
            return self.told
        return min(self.told, oldest - 1)


class Merger:
    """Lines come in as drones tell of them, and go out in order.

    Note [Held back]
    ~~~~~~~~~~~~~~~~
    A line can be shown when every drone has told of everything before it. But one that is quiet says nothing, so a
    line waits half a second at most, and comes out of order if a clock or a link is worse than that. Only what is
    known to be there already, as a drone is ``behind``, is waited for as long as it takes.
    """

    def __init__(self) -> None:
        self._drones: dict[str, _Drone] = {}
        self._lines: list[tuple[int, int, float, Line]] = []
        self._count = 0

    def expect(self, drone: str) -> None:
        """Its lines come too, from now on or again."""
        one = self._drones.setdefault(drone, _Drone())
        if one.gone:
            one.gone, one.behind = False, False

    def tell(self, drone: str, records: list[tuple[Source, Record]], told: int, behind: bool, now: float) -> None:
        """Take what a drone has told of everything up to ``told``; ``behind``: it has more already."""
        one = self._drones[drone]
        for source, record in records:
            self._add(one, one.assembly.add(source, record, now), now)
        one.told, one.behind = max(one.told, told), behind

    def lose(self, drone: str, now: float, over: bool = False) -> None:
        """Nobody waits for it any more; ``over``: nor will the ends of its lines come."""
        one = self._drones[drone]
        one.gone = True
        if over:
            self._add(one, one.assembly.take_all(), now)

    @property
    def behind(self) -> bool:
        """Whether some drone has more already."""
        return any(one.behind and not one.gone for one in self._drones.values())

    @property
    def all_gone(self) -> bool:
        return all(one.gone for one in self._drones.values())

    @property
    def empty(self) -> bool:
        return not self._lines

    def has_room(self, drone: str) -> bool:
        """Whether it may tell more now."""
        return self._drones[drone].held < MAX_HELD

    def take(self, now: float, everything: bool = False) -> list[Line]:
        """The lines that can be shown now, in order; ``everything``: those that could come before them can not."""
        for one in self._drones.values():
            self._add(one, one.assembly.take_old(now), now)
        known = min((one.known for one in self._drones.values()), default=NEVER)
        patient = self.behind
        taken = []
        while self._lines:
            stamp, _, since, line = self._lines[0]
            if stamp > known and not everything and (patient or now < since + HOLD):
                break
            heappop(self._lines)
            self._drones[line.source.drone].held -= 1
            taken.append(line)
        return taken

    def due(self) -> float | None:
        """When there may be more to take although nobody tells anything."""
        times = [one.assembly.due for one in self._drones.values()]
        if self._lines and not self.behind:
            times.append(self._lines[0][2] + HOLD)
        return min((time for time in times if time is not None), default=None)

    def _add(self, one: _Drone, lines: list[Line], now: float) -> None:
        for line in lines:
            self._count += 1
            one.held += 1
            heappush(self._lines, (line.stamp, self._count, now, line))
