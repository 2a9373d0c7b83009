"""Who may write when many read at once: a few of them in each turn of the reactor, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

AT_ONCE = 16
"""To give the kernel a frame takes up to half a millisecond; fifty of them together are a stop that others notice."""


@define(eq=False)
class Pacer:
    """One for all who write through it."""

    clock: IReactorTime
    at_once: int = AT_ONCE
    _left: int = field(init=False)
    _waiting: deque[Callable[[], object]] = field(init=False, factory=deque)
    _turn: IDelayedCall | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._left = self.at_once

    def admit(self, write: Callable[[], object]) -> None:
        """Call ``write`` now, or when it is its turn."""
        if self._left and not self._waiting:
            self._left -= 1
            write()
            return
        self._waiting.append(write)
        if self._turn is None:
            self._turn = self.clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        now = min(self.at_once, len(self._waiting))
        self._left = self.at_once - now
        try:
            for _ in range(now):
                self._waiting.popleft()()
        finally:
            # Also when one of them fails: the others still wait.
            if self._waiting and self._turn is None:
                self._turn = self.clock.callLater(0, self._go_on)
