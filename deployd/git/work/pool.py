"""All of git's workers, by lane: small questions never wait behind large work, and upkeep holds up nobody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from deployd.git.work.crew import Crew, Terms
from deployd.git.work.orders import HEAVY, QUICK, UPKEEP, Answer, Note, Order
from deployd.git.work.spawning import Spawn, spawner

# Bytes of data that one worker may have.
MEMORY = 1 << 30
_NICE = 10
# Seconds: what a worker knows of its repositories is worth some memory for as long.
_IDLE = 1800.0


def lanes() -> dict[str, Terms]:
    """As many workers as this machine has use for."""
    processors = os.cpu_count() or 1
    return {
        QUICK: Terms(workers=2, waiting=1000, idle=_IDLE),
        HEAVY: Terms(workers=processors + 1, waiting=200, patience=300.0, idle=_IDLE),
        UPKEEP: Terms(workers=1, waiting=1000, patience=3600.0, nice=_NICE, idle=_IDLE),
    }


class Pool:
    """Gives orders to workers; made and used in the reactor thread. ``terms``: a lane's name -> its terms."""

    def __init__(self, clock: IReactorTime, spawn: Spawn, terms: Mapping[str, Terms]) -> None:
        self._clock = clock
        self._crews = {lane: Crew(clock, spawn, each) for lane, each in terms.items()}

    @classmethod
    def of_processes(cls, reactor: Any) -> Pool:
        """The usual one."""
        return cls(reactor, spawner(reactor, MEMORY), lanes())

    def run(self, order: Order, note: Note | None = None) -> Deferred[Answer]:
        """Have ``order`` done; ``note`` hears what the job has to say before its end.

        Fails with what the job raised (GitProblem, DeploydError, OSError), with Busy when too much waits, or with
        Unfinished. Who cancels waits no more: the job is left out, or killed if it goes on.
        """
        return self._crews[order.lane].run(order, note)

    def warm(self, lane: str) -> None:
        """Have a worker of ``lane`` ready: something for it is likely to come."""
        self._crews[lane].warm()

    def stop(self, patience: float) -> Deferred[None]:
        """Begin nothing more; fires when no process is left. What goes on after ``patience`` seconds is killed."""
        crews = list(self._crews.values())
        for crew in crews:
            crew.close()

        def kill() -> None:
            for crew in crews:
                crew.kill()

        killing = self._clock.callLater(patience, kill)
        gone: Deferred[Any] = DeferredList([crew.when_gone() for crew in crews])

        def over(_: object) -> None:
            if killing.active():
                killing.cancel()

        return gone.addCallback(over)

    def figures(self) -> dict[str, int]:
        """How much there is to do, for metrics."""
        crews = self._crews.items()
        return {
            **{f"{lane}_workers": crew.workers for lane, crew in crews},
            **{f"{lane}_jobs": crew.busy for lane, crew in crews},
            **{f"{lane}_waiting": crew.waiting for lane, crew in crews},
            "worker_restarts": sum(crew.restarts for crew in self._crews.values()),
        }
