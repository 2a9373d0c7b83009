"""When rows of owners that are away too long are freed."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.registry.book import Transaction

# Seconds until rows that could not be freed are tried again: longer each time.
FIRST_RETRY, LAST_RETRY = 1.0, 30.0


class Falling:
    """One timer for all owners. ``next_fall`` says when the first ones fall; ``free`` frees the rows of those that have
    fallen, or some of them, and fires once that is saved (None: there were none)."""

    def __init__(
        self,
        clock: IReactorTime,
        next_fall: Callable[[], float | None],
        free: Callable[[], Deferred[Transaction] | None],
    ) -> None:
        self._clock = clock
        self._next_fall = next_fall
        self._free = free
        self._running = False
        self._timer: IDelayedCall | None = None
        self._retry = 0.0

    def start(self) -> None:
        self._running = True
        self.plan()

    def stop(self) -> None:
        self._running = False
        self._cancel()

    def plan(self) -> None:
        """Somebody was lost. Leases only get longer, so what is planned already is early enough, perhaps in vain."""
        at = self._next_fall()
        if self._running and self._timer is None and at is not None:
            delay = max(at - self._clock.seconds(), self._retry, 0.0)
            self._timer = self._clock.callLater(delay, self._fall)

    def plan_anew(self) -> None:
        """Some that had fallen are lost as before."""
        self._cancel()
        self.plan()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fall(self) -> None:
        self._timer = None
        freeing = self._free()
        if freeing is not None:
            freeing.addCallbacks(self._freed, self._not_freed)
        self.plan()

    def _freed(self, _: Transaction) -> None:
        self._retry = 0.0

    def _not_freed(self, failure: Failure) -> None:
        failure.trap(DeploydError)
        self._retry = min(max(self._retry * 2, FIRST_RETRY), LAST_RETRY)
