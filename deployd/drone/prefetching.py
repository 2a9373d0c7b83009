"""Fetching what was pushed before anybody deploys it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.checkouts import Checkouts

MAX_QUEUED = 20


class Prefetching:
    """One at a time, only while no deploy waits for a checkout; of each branch only the newest push.

    Nothing is tried twice: a deploy fetches what is missing.
    """

    _log = Logger()

    def __init__(self, checkouts: Checkouts) -> None:
        self._checkouts = checkouts
        self._queue: dict[tuple[str, str], str] = {}
        self._busy = False
        self._ended = False

    def add(self, app: str, ref: str, commit: str) -> None:
        """``commit`` is now the tip of ``ref``; the oldest in a queue of twenty gives way."""
        self._queue.pop((app, ref), None)
        self._queue[app, ref] = commit
        while len(self._queue) > MAX_QUEUED:
            self._queue.pop(next(iter(self._queue)))
        self.go_on()

    def close(self) -> None:
        self._ended = True
        self._queue.clear()

    def go_on(self) -> None:
        """Fetch the next one if no deploy waits any more, and nothing else keeps it waiting."""
        if self._busy or self._ended or not self._queue or self._checkouts.busy:
            return
        app, ref = next(iter(self._queue))
        commit = self._queue.pop((app, ref))
        self._busy = True
        fetching = Deferred.fromCoroutine(self._checkouts.fetch_spare(app, commit))
        fetching.addErrback(self._failed, app, commit)
        fetching.addBoth(self._done)

    def _done(self, _: object) -> None:
        self._busy = False
        self.go_on()

    def _failed(self, failure: Failure, app: str, commit: str) -> None:
        self._log.info("did not prefetch {app} {commit}: {error}", app=app, commit=commit[:12], error=failure.value)
