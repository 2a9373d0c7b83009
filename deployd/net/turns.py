"""Whose turn it is to be answered.

Note [Turns]
~~~~~~~~~~~~
What came in from one peer may be hundreds of questions, each of which takes some milliseconds. So a peer is answered
for a moment when something comes in, and for the rest it waits, and is not read from: all who wait share a moment each
time that the reactor comes around, in the order in which they came. Whoever asks little never waits.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

MOMENT = 0.005


class Waiting(Protocol):
    def go_on(self) -> None:
        """It is your turn; come back to ``wait`` when it is over and there is more."""


class _Later:
    """Somebody who wants to hear of its turn once."""

    def __init__(self, turns: Turns) -> None:
        self.turn: Deferred[None] = Deferred(lambda _: turns.leave(self))

    def go_on(self) -> None:
        self.turn.callback(None)


class Turns:
    """Those who wait for their turn."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Waiting, None] = {}
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def end(self) -> float:
        """When a turn is over that begins now."""
        return self._clock.seconds() + MOMENT

    def is_over(self, end: float) -> bool:
        return self._clock.seconds() >= end

    def wait(self, who: Waiting) -> None:
        self._waiting[who] = None
        self._plan()

    def next(self) -> Deferred[None]:
        """Fires when it is the caller's turn; may be cancelled."""
        later = _Later(self)
        self.wait(later)
        return later.turn

    def leave(self, who: Waiting) -> None:
        self._waiting.pop(who, None)
        if not self._waiting and self._call is not None:
            self._call.cancel()
            self._call = None

    def _plan(self) -> None:
        if self._call is None:
            self._call = self._clock.callLater(0, self._next)

    def _next(self) -> None:
        self._call = None
        end = self.end()
        # Not those who come back meanwhile: with a moment that passes quickly this would never end.
        for who in list(self._waiting):
            if who in self._waiting:
                del self._waiting[who]
                who.go_on()
            if self.is_over(end):
                break
        if self._waiting:
            self._plan()
