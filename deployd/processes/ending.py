"""Ending everything that an instance has started."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd import errors
from deployd.processes import trees

FIRST_LOOK = 0.005
LAST_LOOK = 0.25
KILL_LIMIT = 10.0

ToThread = Callable[..., Deferred[Any]]
"""``to_thread(function, *arguments)`` runs a blocking function elsewhere: ``deferToThread`` bound to a pool."""

_log = Logger()


def end(
    clock: IReactorTime,
    to_thread: ToThread,
    instance: str,
    session: trees.ProcessRef | int | None,
    grace: float,
    signum: int = signal.SIGTERM,
) -> Deferred[None]:
    """End every process of ``instance``: ``signum``, up to ``grace`` seconds, then KILL; fire once nothing is left.

    Fires soon when nothing runs. Fails with InternalError, naming the pids, when some process outlives KILL for ten
    seconds (stuck in the kernel, or of another user). ``session`` as for ``trees.find``.
    """
    return Deferred.fromCoroutine(Ending(clock, to_thread, instance, session).run(grace, signum))


class Ending:
    """One ending. A signal is sent once to each process; KILL again and again, as forks may race with it."""

    def __init__(
        self, clock: IReactorTime, to_thread: ToThread, instance: str, session: trees.ProcessRef | int | None
    ) -> None:
        self._clock = clock
        self._to_thread = to_thread
        self._instance = instance
        self._session = session

    async def run(self, grace: float, signum: int) -> None:
        if grace > 0:
            found = await self._to_thread(trees.find_and_signal, self._instance, self._session, signum)
            if not found or await self._all_gone(found, self._clock.seconds() + grace):
                return
            _log.info("{instance} did not end within {grace} s: killing it", instance=self._instance, grace=grace)
        await self._kill()

    async def _all_gone(self, known: frozenset[trees.ProcessRef], deadline: float) -> bool:
        """Whether nothing is left before ``deadline``; what started during the ending counts."""
        pause = FIRST_LOOK
        while True:
            if not (known := await self._to_thread(trees.alive, known)):
                known = await self._to_thread(trees.find, self._instance, self._session)
                if not known:
                    return True
            left = deadline - self._clock.seconds()
            if left <= 0:
                return False
            await deferLater(self._clock, min(pause, left))
            pause = min(pause * 1.5, LAST_LOOK)

    async def _kill(self) -> None:
        deadline = self._clock.seconds() + KILL_LIMIT
        pause = FIRST_LOOK
        while True:
            left = await self._to_thread(trees.find_and_signal, self._instance, self._session, signal.SIGKILL)
            if not left:
                return
            if self._clock.seconds() >= deadline:
                pids = ", ".join(str(ref.pid) for ref in sorted(left, key=lambda ref: ref.pid)[:10])
                _log.error("{instance} cannot be killed: {pids} still run", instance=self._instance, pids=pids)
                raise errors.InternalError(
                    f"{len(left)} processes of {self._instance} do not die (pid {pids}): look at them on the drone"
                )
            await deferLater(self._clock, pause)
            pause = min(pause * 1.5, LAST_LOOK)
