"""Readers who wait for a row that is not there yet, bounded per address and in all."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from deployd.model.row_change import RowChange
from deployd.registry.filter import RowFilter
from deployd.registry.watching import Watchers

WAITERS_PER_ADDRESS = 100
WAITERS = 5000


class WaitingRoom:
    """Wakes those whose filter takes a row that was put; the others sleep on."""

    def __init__(self, clock: IReactorTime, per_address: int = WAITERS_PER_ADDRESS, limit: int = WAITERS) -> None:
        self._sleepers = Watchers(clock, limit, per_address, "requests wait")

    @property
    def count(self) -> int:
        return self._sleepers.count

    def wait(self, wanted: RowFilter, seconds: float, address: str) -> Deferred[bool]:
        """True once a row is put that ``wanted`` takes, False after ``seconds``; may be cancelled. Raise Busy."""
        who = object()

        def give_up(_: Deferred[bool]) -> None:
            self._sleepers.drop(who)

        found: Deferred[bool] = Deferred(give_up)
        woken = self._sleepers.wait(wanted, seconds, who, address)
        woken.addCallback(lambda number: found.callback(number is not None))
        return found

    def changed(self, changes: Iterable[RowChange]) -> None:
        if self._sleepers.count:
            self._sleepers.changed(change for change in changes if not change.freed)

    def close(self) -> None:
        """Answer all: nothing more will come."""
        self._sleepers.close()
