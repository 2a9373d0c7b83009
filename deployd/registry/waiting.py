"""Readers who wait for a row that is not there yet, bounded per address and in all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.net.turns import Turns
from deployd.registry.filter import RowFilter
from deployd.registry.watching import Watchers

WAITERS_PER_ADDRESS = 100
WAITERS = 5000
# So many rows are looked at in one turn for somebody who waits.
LOOKED = 2_000


class WaitingRoom:
    """Wakes those whose filter takes a row that was put; the others sleep on."""

    def __init__(self, clock: IReactorTime, per_address: int = WAITERS_PER_ADDRESS, limit: int = WAITERS) -> None:
        self._sleepers = Watchers(clock, limit, per_address, "requests wait")
        self._turns = Turns(clock)

    @property
    def count(self) -> int:
        return self._sleepers.count

    def wait(self, wanted: RowFilter, seconds: float, address: str) -> Deferred[bool]:
        """True once a row is put that ``wanted`` takes, False after ``seconds``; may be cancelled. Raise Busy."""
        return self._wait(object(), wanted, seconds, address)

    async def find(self, rows: Sequence[Registration], wanted: RowFilter, seconds: float, address: str) -> bool:
        """Whether ``wanted`` takes one of ``rows``, or one that is put within ``seconds``; raise Busy."""
        if _is_among(rows[:LOOKED], wanted):
            return True
        who = object()
        waiting = self._wait(who, wanted, seconds, address)
        try:
            for start in range(LOOKED, len(rows), LOOKED):
                # Note [Turns]
                await self._turns.next()
                if waiting.called:
                    break
                if _is_among(rows[start : start + LOOKED], wanted):
                    self._sleepers.drop(who)
                    return True
        except BaseException:  # whoever asked is gone
            self._sleepers.drop(who)
            raise
        return await waiting

    def _wait(self, who: object, wanted: RowFilter, seconds: float, address: str) -> Deferred[bool]:
        def give_up(_: Deferred[bool]) -> None:
            self._sleepers.drop(who)

        found: Deferred[bool] = Deferred(give_up)
        woken = self._sleepers.wait(wanted, seconds, who, address)
        woken.addCallback(lambda woken: found.callback(woken.is_news))
        return found

    def changed(self, changes: Iterable[RowChange]) -> None:
        if self._sleepers.count:
            self._sleepers.changed(change for change in changes if not change.freed)

    def close(self) -> None:
        """Answer all: nothing more will come."""
        self._sleepers.close()


def _is_among(rows: Iterable[Registration], wanted: RowFilter) -> bool:
    return any(wanted.takes(row) for row in rows)
