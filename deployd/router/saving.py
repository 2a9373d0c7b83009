"""Rows on their way to the disk: together, once a second, nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.router.belief import RowChanges

# Seconds in which changes gather, and until one that failed is tried again.
GATHER = 1.0
RETRY = 5.0

# Runs a method of deployd.router.saved.Saved by name in its thread; the calls happen in order.
Save = Callable[..., Deferred[Any]]


class RowSaving:
    """One save under way, the newest state of each row wins."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, save: Save) -> None:
        self._clock = clock
        self._save = save
        self._waiting: dict[str, Registration | None] = {}
        self._revision: Revision | None = None
        self._timer: IDelayedCall | None = None
        self._saving: Deferred[None] | None = None
        self._closed = False

    def changed(self, changes: RowChanges, revision: Revision) -> None:
        self._waiting.update(dict.fromkeys(changes.gone))
        self._waiting.update({row.id: row for row in changes.put})
        self._revision = revision
        if self._timer is None and self._saving is None:
            self._later(GATHER)

    async def close(self) -> None:
        """Save what waits now."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._saving is not None:
            waiter: Deferred[None] = Deferred()
            self._saving.addBoth(waiter.callback)
            await waiter
        await self._start()

    def _later(self, delay: float) -> None:
        if not self._closed:
            self._timer = self._clock.callLater(delay, self._start)

    def _start(self) -> Deferred[None]:
        self._timer = None
        if self._revision is None:
            return succeed(None)
        waiting, self._waiting = self._waiting, {}
        revision, self._revision = self._revision, None
        put = tuple(row for row in waiting.values() if row is not None)
        gone = tuple(id for id, row in waiting.items() if row is None)
        self._saving = self._save("change_rows", put, gone, revision)
        self._saving.addCallback(lambda _: GATHER).addErrback(self._failed, waiting, revision)
        return self._saving.addCallback(self._saved)

    def _failed(self, failure: Failure, waiting: dict[str, Registration | None], revision: Revision) -> float:
        if failure.check(DeploydError):
            self._log.warn("{error}; trying again", error=failure.value)
        else:
            self._log.failure("while saving rows", failure=failure)
        self._waiting = waiting | self._waiting
        self._revision = self._revision or revision
        return RETRY

    def _saved(self, delay: Any) -> None:
        self._saving = None
        if self._revision is not None:
            self._later(delay)
