"""The one moment at which somebody has to look again."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Alarm:
    """``look`` is called at the moment that was set last, once; ``clock`` gives its seconds."""

    def __init__(self, clock: IReactorTime, look: Callable[[], None]) -> None:
        self._clock = clock
        self._look = look
        self._call: IDelayedCall | None = None

    def set(self, when: float | None) -> None:
        """At ``when``, and no more at any other moment; None: at none."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if when is not None:
            self._call = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._due)

    def _due(self) -> None:
        self._call = None
        self._look()
