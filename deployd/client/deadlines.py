"""Work that has to be done in time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from deployd.errors import NoAnswer

T = TypeVar("T")


class Deadlines:
    """Runs coroutines, each until its deadline, and all of them until ``cancel_all``.

    ``trouble`` says why it may take so long; "" while all is well.
    """

    def __init__(self, clock: IReactorTime, trouble: Callable[[], str]) -> None:
        self._clock = clock
        self._trouble = trouble
        self._working: set[Deferred[Any]] = set()

    def run(self, work: Coroutine[Any, Any, T], seconds: float | None, what: str) -> Deferred[T]:
        """What ``work`` returns; fails with NoAnswer, which says ``what``, after ``seconds`` (None: never)."""
        working: Deferred[T] = Deferred.fromCoroutine(work)
        if not working.called:
            self._working.add(working)

        def done(result: Any) -> Any:
            self._working.discard(working)
            return result

        def late(*_: Any) -> Any:
            why = self._trouble()
            raise NoAnswer(f"{what}: no answer within {seconds:g} s{f' ({why})' if why else ''}")

        working.addBoth(done)
        if seconds is not None:
            working.addTimeout(seconds, self._clock, late)
        return working

    def cancel_all(self) -> None:
        for working in list(self._working):
            working.cancel()
