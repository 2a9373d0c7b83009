"""Those who wait for the next change of rows that they want: long polls, bounded, woken by nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.errors import Busy
from deployd.model.row_change import RowChange
from deployd.registry.filter import RowFilter

MAX_WATCHERS = 6000
WATCHERS_PER_ADDRESS = 3000


@define(eq=False)
class _Wait:
    wanted: RowFilter
    address: str
    timer: IDelayedCall
    done: Deferred[int | None] = field(factory=Deferred)


class Watchers:
    """Who sleeps until the next change, one wait each."""

    def __init__(self, clock: IReactorTime, limit: int = MAX_WATCHERS, per_address: int = WATCHERS_PER_ADDRESS) -> None:
        self._clock = clock
        self._limit = limit
        self._per_address = per_address
        self._waits: dict[object, _Wait] = {}
        self._addresses: Counter[str] = Counter()
        # The filters that are waited with, by the role that each wants ("": any).
        self._roles: dict[str, dict[RowFilter, dict[object, None]]] = {}

    @property
    def count(self) -> int:
        return len(self._waits)

    def wait(self, wanted: RowFilter, seconds: float, who: object, address: str) -> Deferred[int | None]:
        """Fires with the number before the first change of a row that ``wanted`` takes; with None after ``seconds``, or
        when ``who`` leaves. Raise Busy."""
        if who in self._waits:
            raise Busy("this session watches already; one watch at a time")
        if self.count >= self._limit:
            raise Busy("too many sessions watch already; try again in a moment")
        if self._addresses[address] >= self._per_address:
            raise Busy(f"{self._per_address} watches come from your address already; try again in a moment")
        wait = _Wait(wanted, address, self._clock.callLater(seconds, self.leave, who))
        self._waits[who] = wait
        self._addresses[address] += 1
        self._roles.setdefault(wanted.role, {}).setdefault(wanted, {})[who] = None
        return wait.done

    def leave(self, who: object) -> None:
        """Let ``who`` wait no longer."""
        self._answer(who, None)

    def changed(self, changes: Iterable[RowChange]) -> None:
        """Wake those who want to know of these."""
        if not self._waits:
            return
        first: dict[RowFilter, int] = {}
        for change in changes:
            for role in ("", change.row.role):
                for wanted in self._roles.get(role, ()):
                    if wanted not in first and wanted.takes(change.row):
                        first[wanted] = change.number - 1
        for wanted, number in first.items():
            for who in list(self._roles[wanted.role][wanted]):
                self._answer(who, number)

    def close(self) -> None:
        """Answer all: nothing more will come."""
        for who in list(self._waits):
            self.leave(who)

    def _answer(self, who: object, number: int | None) -> None:
        wait = self._waits.pop(who, None)
        if wait is None:
            return
        if wait.timer.active():
            wait.timer.cancel()
        filters = self._roles[wait.wanted.role]
        del filters[wait.wanted][who]
        if not filters[wait.wanted]:
            del filters[wait.wanted]
            if not filters:
                del self._roles[wait.wanted.role]
        self._addresses[wait.address] -= 1
        if not self._addresses[wait.address]:
            del self._addresses[wait.address]
        wait.done.callback(number)
