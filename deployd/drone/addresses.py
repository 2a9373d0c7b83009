"""Which IP addresses are this machine's."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from deployd.processes.ending import ToThread
from deployd.processes.environment import machine_addresses

FRESH = 5.0


class Addresses:
    """Looked up in a thread, and not again for some seconds: hundreds of starts come together."""

    def __init__(self, clock: IReactorTime, to_thread: ToThread) -> None:
        self._clock = clock
        self._to_thread = to_thread
        self._known: frozenset[str] = frozenset()
        self._until = -1.0

    async def get(self) -> frozenset[str]:
        if self._clock.seconds() >= self._until:
            looking: Deferred[frozenset[str]] = self._to_thread(machine_addresses)
            self._known = await looking
            self._until = self._clock.seconds() + FRESH
        return self._known
