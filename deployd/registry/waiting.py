"""Readers who wait for a row that is not there yet, bounded per address and in all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.net.turns import Turns
from deployd.registry.filter import RowFilter
from deployd.registry.watching import Watchers

# Nobody may wait for longer in one call.
MAX_WAIT = 60.0
WAITERS_PER_ADDRESS = 100
WAITERS = 5000
# So many rows are looked at in one turn for somebody who waits.
LOOKED = 2_000

Places = Callable[[str], Iterable[tuple[str, Registration | None]]]


class WaitingRoom:
    """Wakes those whose filter takes a row that was put; the others sleep on."""

    def __init__(self, clock: IReactorTime, per_address: int = WAITERS_PER_ADDRESS, limit: int = WAITERS) -> None:
        self._sleepers = Watchers(clock, limit, per_address, "requests wait")
        self._turns = Turns(clock)

    @property
    def count(self) -> int:
        return self._sleepers.count

    async def find(self, places: Places, wanted: RowFilter, seconds: float, address: str) -> bool:
        """Whether there is a row that ``wanted`` takes, or one is put within ``seconds``; may be cancelled. Raise Busy.

        ``places`` are those of the rows that there are (Rows.places), after some place.
        """
        found, last = _looked(places(""))
        if found:
            return True
        who = object()
        waiting = self._wait(who, wanted, seconds, address)
        try:
            while last:
                # Note [Turns]
                await self._turns.next()
                if waiting.called:
                    break
                found, last = _looked(places(last))
                if found:
                    self._sleepers.drop(who)
                    return True
        except BaseException:  # whoever asked is gone
            self._sleepers.drop(who)
            raise
        return await waiting

    def _wait(self, who: object, wanted: RowFilter, seconds: float, address: str) -> Deferred[bool]:
        """True once a row is put that ``wanted`` takes, False after ``seconds``; raise Busy."""

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


def _looked(places: Iterable[tuple[str, Registration | None]]) -> tuple[bool, str]:
    """Whether there is a row at the first of them, and which place was the last of these; "" when there are no more."""
    last = ""
    for looked, (place, row) in enumerate(places):
        if looked >= LOOKED:
            return False, last
        if row is not None:
            return True, ""
        last = place
    return False, ""
