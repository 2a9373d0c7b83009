"""Requests that wait for the table to change, bounded in number."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from deployd.errors import Busy


class Changes:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[Deferred[None], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[None]:
        """Fires after the next change; may be cancelled. Raise Busy."""
        if len(self._waiting) >= self._limit:
            raise Busy("too many requests wait for a target already; try again in a moment")
        done: Deferred[None] = Deferred(lambda each: self._waiting.pop(each, None))
        self._waiting[done] = None
        return done

    def happened(self) -> None:
        """Wake all; who begins to wait meanwhile waits for the next one."""
        waiting = list(self._waiting)
        for done in waiting:
            if self._waiting.pop(done, self) is None:
                done.callback(None)
