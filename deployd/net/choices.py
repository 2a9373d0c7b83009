"""Several addresses of which one is enough."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.interfaces import IStreamClientEndpoint


@frozen
class Choice:
    """``shown`` is how errors name it."""

    endpoint: IStreamClientEndpoint
    shown: str


class Choices:
    """Tried in order, beginning with the one that was reached last; connections that share this go the same way."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._choices = list(choices)
        self._first = 0

    def in_order(self) -> list[Choice]:
        return [*self._choices[self._first :], *self._choices[: self._first]]

    def reached(self, choice: Choice) -> None:
        self._first = self._choices.index(choice)
