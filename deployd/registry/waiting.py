"""Readers who wait for a row that is not there yet, bounded per address and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.errors import Busy
from deployd.model.registration import Registration
from deployd.registry.filter import RowFilter

WAITERS_PER_ADDRESS = 100
WAITERS = 5000


@define(eq=False)
class _Waiter:
    wanted: RowFilter
    address: str
    done: Deferred[bool] = field(init=False)
    timer: IDelayedCall | None = None


class WaitingRoom:
    """Wakes those whose filter takes a row that was put; the others sleep on."""

    def __init__(self, clock: IReactorTime, per_address: int = WAITERS_PER_ADDRESS, limit: int = WAITERS) -> None:
        self._clock = clock
        self._per_address = per_address
        self._limit = limit
        self._addresses: Counter[str] = Counter()
        # By the namespace that alone can match; "" has those for whom several can.
        self._waiters: dict[str, dict[_Waiter, None]] = {}

    @property
    def count(self) -> int:
        return self._addresses.total()

    def wait(self, wanted: RowFilter, seconds: float, address: str) -> Deferred[bool]:
        """True once a row is put that ``wanted`` takes, False after ``seconds``; may be cancelled. Raise Busy."""
        if self._addresses[address] >= self._per_address:
            raise Busy(f"{self._per_address} requests from your address wait already; try again in a moment")
        if self.count >= self._limit:
            raise Busy("too many requests wait already; try again in a moment")
        waiter = _Waiter(wanted, address)
        waiter.done = Deferred(lambda _: self._leave(waiter))
        waiter.timer = self._clock.callLater(seconds, self._answer, waiter, False)
        self._addresses[address] += 1
        self._waiters.setdefault(wanted.exact_namespace, {})[waiter] = None
        return waiter.done

    def rows_put(self, rows: Iterable[Registration]) -> None:
        if not self._waiters:
            return
        # Filters look at no more than this, and a thousand rows of one release are one kind.
        kinds = {(row.namespace, row.app, row.release, row.role, row.version): row for row in rows}
        namespaces = {kind[0] for kind in kinds} | {""}
        waiting = [waiter for namespace in namespaces for waiter in self._waiters.get(namespace, ())]
        for waiter in waiting:
            if any(waiter.wanted.takes(row) for row in kinds.values()):
                self._answer(waiter, True)

    def close(self) -> None:
        """Answer all: nothing more will come."""
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            self._answer(waiter, False)

    def _answer(self, waiter: _Waiter, found: bool) -> None:
        self._leave(waiter)
        waiter.done.callback(found)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.timer is not None and waiter.timer.active():
            waiter.timer.cancel()
        key = waiter.wanted.exact_namespace
        del self._waiters[key][waiter]
        if not self._waiters[key]:
            del self._waiters[key]
        self._addresses[waiter.address] -= 1
        if not self._addresses[waiter.address]:
            del self._addresses[waiter.address]
