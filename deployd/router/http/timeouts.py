"""The deadlines of all connections.

Note [One timer]
~~~~~~~~~~~~~~~~
A delayed call per phase of every request would cost more than parsing it. Each connection has one attribute
``deadline`` instead, a number that is cheap to move; all of them are compared with the time every TICK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from deployd.router.http.settings import TICK

NEVER = float("inf")


class Watched(Protocol):
    deadline: float

    def expired(self, now: float) -> None:
        """``deadline`` has passed; it must be another one afterwards, or the thing be forgotten."""

    def abort(self) -> None: ...


class Deadlines:
    """Looks at what is watched as long as there is something."""

    _log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.seconds: Callable[[], float] = clock.seconds
        self._watched: set[Watched] = set()
        self._next: IDelayedCall | None = None

    def watch(self, watched: Watched) -> None:
        self._watched.add(watched)
        if self._next is None:
            self._next = self._clock.callLater(TICK, self._look)

    def forget(self, watched: Watched) -> None:
        self._watched.discard(watched)
        if not self._watched and self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = self._clock.callLater(TICK, self._look)
        now = self.seconds()
        for watched in [watched for watched in self._watched if watched.deadline <= now]:
            try:
                watched.expired(now)
            except Exception:
                self._log.failure("at the deadline of {watched}", watched=watched)
                # Nothing else would ever end it.
                self.forget(watched)
                watched.abort()
