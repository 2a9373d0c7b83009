"""The revision of everything that can be asked of the hub, and those who wait for the next one."""

from __future__ import annotations

from attrs import define
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.errors import Busy

MAX_WAITERS = 1000
LONGEST_WAIT = 30.0
# A deploy changes many things within a moment; its watchers hear of them once.
GATHERING = 0.02


@define(eq=False)
class _Waiter:
    answer: Deferred[int]
    timeout: IDelayedCall
    who: object


class News:
    """``start`` is the first revision; a hub that was restarted starts above all that its earlier run can have told."""

    def __init__(self, clock: IReactorTime, start: int = 0) -> None:
        self._clock = clock
        self._waiters: list[_Waiter] = []
        self._waking: IDelayedCall | None = None
        self.revision = start

    def bump(self) -> None:
        """Something has changed."""
        self.revision += 1
        if self._waiters and self._waking is None:
            self._waking = self._clock.callLater(GATHERING, self._wake)

    def wait(self, revision: int, seconds: float, who: object) -> Deferred[int]:
        """The revision, once it is no longer ``revision`` or ``seconds`` (30 at most) have passed; fails with Busy.

        ``who`` is whom ``leave`` lets go.
        """
        if revision != self.revision or not seconds > 0:
            return succeed(self.revision)
        if len(self._waiters) >= MAX_WAITERS:
            return fail(Busy("too many clients wait for changes; try again in a moment"))
        answer: Deferred[int] = Deferred()
        timeout = self._clock.callLater(min(seconds, LONGEST_WAIT), self._answer, answer)
        self._waiters.append(_Waiter(answer, timeout, who))
        return answer

    def leave(self, who: object) -> None:
        """The connection of ``who`` is gone: nobody waits there any more."""
        for waiter in [waiter for waiter in self._waiters if waiter.who is who]:
            self._answer(waiter.answer)

    def close(self) -> None:
        """Answer everybody."""
        self._wake()

    def _wake(self) -> None:
        if self._waking is not None and self._waking.active():
            self._waking.cancel()
        self._waking = None
        for waiter in list(self._waiters):
            self._answer(waiter.answer)

    def _answer(self, answer: Deferred[int]) -> None:
        found = next((waiter for waiter in self._waiters if waiter.answer is answer), None)
        if found is None:
            return
        self._waiters.remove(found)
        if found.timeout.active():
            found.timeout.cancel()
        answer.callback(self.revision)
