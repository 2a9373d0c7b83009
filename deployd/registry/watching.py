"""Those who follow the book's changes: long polls, bounded in time and number, woken together."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.errors import Busy

MAX_WATCHERS = 5000


class Watchers:
    """Who sleeps until the next change, one wait each; what one turn of the reactor changes wakes them once."""

    def __init__(self, clock: IReactorTime, limit: int = MAX_WATCHERS) -> None:
        self._clock = clock
        self._limit = limit
        self._waits: dict[object, tuple[Deferred[None], IDelayedCall]] = {}
        self._waking: IDelayedCall | None = None

    @property
    def count(self) -> int:
        return len(self._waits)

    def wait(self, seconds: float, who: object) -> Deferred[None]:
        """Fires after the next change, after ``seconds``, or when ``who`` leaves; raise Busy."""
        if who in self._waits:
            raise Busy("this session watches already; one Watch at a time")
        if self.count >= self._limit:
            raise Busy("too many sessions watch already; try again in a moment")
        done: Deferred[None] = Deferred()
        self._waits[who] = (done, self._clock.callLater(seconds, self.leave, who))
        return done

    def leave(self, who: object) -> None:
        """Let ``who`` wait no longer."""
        if who in self._waits:
            done, timer = self._waits.pop(who)
            if timer.active():
                timer.cancel()
            done.callback(None)

    def changed(self) -> None:
        if self._waits and self._waking is None:
            self._waking = self._clock.callLater(0, self._wake)

    def close(self) -> None:
        """Answer all: nothing more will come."""
        if self._waking is not None:
            self._waking.cancel()
        self._wake()

    def _wake(self) -> None:
        self._waking = None
        for who in list(self._waits):
            self.leave(who)
