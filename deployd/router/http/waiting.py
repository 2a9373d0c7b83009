"""A request for which no target is ready."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from deployd.router.http.settings import TICK


class Waiting:
    """Waits until the table has changed, or a moment has passed, until ``limit`` at most.

    ``look`` is called at each change; ``deadline`` is when to look without one.
    """

    __slots__ = ("_change", "_look", "deadline", "limit")

    def __init__(self, limit: float, look: Callable[[], None]) -> None:
        self.limit = limit
        self.deadline = limit
        self._look = look
        self._change: Deferred[None] | None = None

    def wait(self, now: float, when_changed: Callable[[], Deferred[None]]) -> None:
        """Until the next change; raise Busy if too many wait already."""
        self.deadline = min(now + TICK, self.limit)
        if self._change is None:
            # It may fire only later: the table does not change within a decision.
            self._change = when_changed()
            self._change.addCallbacks(self._changed, lambda _: None)

    def stop(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.cancel()

    def _changed(self, _: None) -> None:
        self._change = None
        self._look()
