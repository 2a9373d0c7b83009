"""What an instance is busy with."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure


class Work:
    """One coroutine at a time: beginning the next cancels the one before, whose end is then heard of no more.

    So news of what no longer matters never reaches an instance's machine.
    """

    def __init__(self) -> None:
        self._doing: Deferred[Any] | None = None
        self._turn = 0

    def begin(
        self,
        work: Coroutine[Any, Any, Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Call ``done`` with the result of ``work``, or ``failed`` with its error."""
        self.drop()
        turn = self._turn
        self._doing = doing = Deferred.fromCoroutine(work)

        def finished(result: Any) -> None:
            if turn != self._turn:
                return
            self._doing = None
            if not isinstance(result, Failure):
                done(result)
            elif not result.check(CancelledError):
                failed(result.value)  # type: ignore[arg-type]

        doing.addBoth(finished)

    def drop(self) -> None:
        """Do nothing any more."""
        self._turn += 1
        doing, self._doing = self._doing, None
        if doing is not None:
            doing.cancel()
