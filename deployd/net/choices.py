"""Several addresses of which one is enough."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.interfaces import IStreamClientEndpoint

STAY = 3.0


@frozen
class Choice:
    """``shown`` is how errors name it."""

    endpoint: IStreamClientEndpoint
    shown: str


class Choices:
    """Tried in order, beginning with the one that was reached last; connections that share this go the same way.

    One that was lost is the only one for STAY seconds: nobody should change over for a restart. Times are a clock's.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._choices = list(choices)
        self._first = 0
        self._lost: float | None = None

    def in_order(self, now: float) -> list[Choice]:
        """What to try now, one after the other."""
        if self._lost is not None and now - self._lost < STAY:
            return [self._choices[self._first]]
        return [*self._choices[self._first :], *self._choices[: self._first]]

    def reached(self, choice: Choice) -> None:
        self._first, self._lost = self._choices.index(choice), None

    def lost(self, now: float) -> None:
        """A session was lost with the one that was reached last."""
        if self._lost is None:
            self._lost = now
