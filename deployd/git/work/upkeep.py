"""When an app's packs are consolidated: after some pushes or a broken one, when it is quiet, one app at a time.

It may wait, and may fail: nothing but speed depends on it.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, define, field
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

QUIET, IMPATIENT = 2.0, 5.0
"""Seconds without a push after which an app's turn comes, and how long it waits for them at most."""
FIRST_RETRY, LAST_RETRY = 60.0, 3600.0


@define
class _Standing:
    pushes: int = 0
    due: float = 0.0
    last: float = 0.0
    failures: int = 0
    not_before: float = 0.0

    def ready(self) -> float:
        return max(self.not_before, min(self.last + QUIET, self.due + IMPATIENT))


@define
class Agenda:
    """Whose turn it is. Times are seconds of one clock.

    An app has its turn after ``between`` pushes; the first time, when nobody knows how its packs are, after one.
    """

    between: int
    _apps: dict[str, _Standing] = Factory(dict)

    def pushed(self, app: str, now: float, count: int = 1) -> None:
        """A push came to ``app``, or what counts for more."""
        standing = self._apps.setdefault(app, _Standing(self.between - 1))
        before = standing.pushes
        standing.pushes += count
        standing.last = now
        if before < self.between <= standing.pushes:
            standing.due = now

    def wait(self, now: float) -> float | None:
        """How many seconds until an app has its turn; None: none will without another push."""
        ready = [standing.ready() for standing in self._apps.values() if standing.pushes >= self.between]
        return max(0.0, min(ready) - now) if ready else None

    def begin(self) -> str:
        """The app whose turn it is, which has waited longest; pushes that come from now on count for its next one."""
        due = [app for app, standing in self._apps.items() if standing.pushes >= self.between]
        app = min(due, key=lambda app: self._apps[app].ready())
        self._apps[app].pushes = 0
        return app

    def succeeded(self, app: str) -> None:
        """They are in order."""
        self._apps[app].failures = 0

    def failed(self, app: str, now: float) -> bool:
        """They are not, and it is tried again, later each time. Return whether it is the first failure in a row."""
        standing = self._apps[app]
        standing.not_before = now + min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(standing.failures, 10))
        standing.failures += 1
        standing.pushes = max(standing.pushes, self.between)
        standing.due = standing.last = now
        return standing.failures == 1


@define
class Upkeep:
    """``run`` has the packs of an app consolidated, elsewhere. Between two runs there is a pause as long as a run."""

    clock: IReactorTime
    run: Callable[[str], Deferred[object]]
    between: int
    _agenda: Agenda = field(init=False)
    _running: Deferred[object] | None = field(init=False, default=None)
    _call: IDelayedCall | None = field(init=False, default=None)
    _resting: float = field(init=False, default=0.0)
    _stopped: bool = field(init=False, default=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._agenda = Agenda(self.between)

    def pushed(self, app: str) -> None:
        """Refs of ``app`` have moved."""
        self._agenda.pushed(app, self.clock.seconds())
        self._look()

    def broken_off(self, app: str) -> None:
        """A worker was killed in the middle of a push to ``app``: it has left something to clear up."""
        self._agenda.pushed(app, self.clock.seconds(), self.between)
        self._look()

    def stop(self) -> None:
        """Do nothing more; a run that goes on is called off."""
        self._stopped = True
        self._look()
        if self._running:
            self._running.cancel()

    def _look(self) -> None:
        if self._call:
            self._call.cancel()
            self._call = None
        if self._running or self._stopped:
            return
        now = self.clock.seconds()
        wait = self._agenda.wait(now)
        if wait is not None:
            self._call = self.clock.callLater(max(0.0, wait, self._resting - now), self._begin)

    def _begin(self) -> None:
        self._call = None
        now = self.clock.seconds()
        app = self._agenda.begin()
        self._running = maybeDeferred(self.run, app)
        self._running.addCallbacks(lambda _: self._agenda.succeeded(app), lambda failure: self._fail(app, failure))
        self._running.addBoth(lambda _: self._end(now))

    def _fail(self, app: str, failure: Failure) -> None:
        if self._stopped and failure.check(CancelledError):
            return
        if self._agenda.failed(app, self.clock.seconds()):
            self._log.warn(
                "The packs of {app} are not consolidated, which makes it slower: {reason}; it is tried again later",
                app=app,
                reason=failure.getErrorMessage(),
            )

    def _end(self, began: float) -> None:
        now = self.clock.seconds()
        self._running, self._resting = None, 2 * now - began
        self._look()
