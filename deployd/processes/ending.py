"""Ending everything that an instance has started."""

from __future__ import annotations

import signal
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd import errors
from deployd.processes.census import Census, Session, ToThread
from deployd.processes.forest import ProcessRef

__all__ = ["ToThread", "end"]

FIRST_LOOK = 0.005
LAST_LOOK = 0.25
KILL_LIMIT = 10.0
LOOKS_AFTER_QUELLING = 4

_log = Logger()


def end(
    clock: IReactorTime,
    census: Census,
    instance: str,
    session: Session,
    grace: float,
    signum: int = signal.SIGTERM,
) -> Deferred[None]:
    """End every process of ``instance``: ``signum``, up to ``grace`` seconds, then KILL; fire once nothing is left.

    Fires soon when nothing runs. Fails with InternalError, naming the pids, when some process outlives KILL for ten
    seconds (stuck in the kernel, or of another user). ``session`` as in Note [Finding a tree].
    """
    return Deferred.fromCoroutine(Ending(clock, census, instance, session).run(grace, signum))


class Ending:
    """One ending. A signal is sent once to each process; KILL again and again, as forks may race with it."""

    def __init__(self, clock: IReactorTime, census: Census, instance: str, session: Session) -> None:
        self._clock = clock
        self._census = census
        self._instance = instance
        self._session = session

    async def run(self, grace: float, signum: int) -> None:
        if grace > 0:
            found = await self._census.signal(self._instance, self._session, signum)
            if not found or await self._all_gone(found, self._clock.seconds() + grace):
                return
            _log.info("{instance} did not end within {grace} s: killing it", instance=self._instance, grace=grace)
        await self._kill()

    async def _all_gone(self, known: frozenset[ProcessRef], deadline: float) -> bool:
        """Whether nothing is left before ``deadline``; what started during the ending counts."""
        pause = FIRST_LOOK
        while True:
            if not (known := await self._census.alive(known)):
                known = await self._census.find(self._instance, self._session)
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
        killed: frozenset[ProcessRef] = frozenset()
        looks = 1
        while looks:
            left = await self._census.signal(self._instance, self._session, signal.SIGKILL)
            if left and self._clock.seconds() >= deadline:
                self._despair(left)
            if killed and left - killed:
                # It forks on while it is killed; what forks as one look goes on may be missed by that one.
                await self._census.quell(self._instance, self._session)
                looks = LOOKS_AFTER_QUELLING
            elif not left:
                looks -= 1
            killed |= left
            if looks:
                await deferLater(self._clock, pause)
            pause = min(pause * 1.5, LAST_LOOK)

    def _despair(self, left: frozenset[ProcessRef]) -> NoReturn:
        pids = ", ".join(str(pid) for pid in sorted(ref.pid for ref in left)[:10])
        _log.error("{instance} cannot be killed: {pids} still run", instance=self._instance, pids=pids)
        raise errors.InternalError(
            f"{len(left)} processes of {self._instance} do not die (pid {pids}): look at them on the drone"
        )
