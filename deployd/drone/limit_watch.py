"""Ends instances that use more than they may, where the kernel does not see to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from deployd.drone.disk import size_of
from deployd.drone.means import Means
from deployd.drone.process import Running
from deployd.planning.excess import bytes_text, excess, greediest
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.census import Census
from deployd.processes.ending import ToThread
from deployd.processes.usage import usage, written_since

if TYPE_CHECKING:
    from deployd.drone.instance import Instance

EVERY = 2.0
"""Seconds between two looks at processes, or at how full the disk is."""
MEASURE_EVERY, SHARE = 10.0, 20
"""Seconds between two looks at directories; and a pause of so many times what measuring one has taken."""
# What is in files counts a moment later than it was written.
TOLERANCE = 1.0


@frozen
class Disk:
    """``free`` gives (free, reserved) bytes of the disk, ``checkout`` the directory of a release; both block, as all
    that is measured, in ``to_thread``."""

    to_thread: ToThread
    free: Callable[[], tuple[int, int]]
    checkout: Callable[[CheckoutKey], Path]


class LimitWatch(Service):
    """``instances`` gives the instances of the drone; one census answers for all."""

    _log = Logger()

    def __init__(self, means: Means, census: Census, disk: Disk, instances: Callable[[], Collection[Instance]]) -> None:
        self._means = means
        self._census = census
        self._disk = disk
        self._instances = instances
        self._loops: list[LoopingCall] = []

    def startService(self) -> None:
        super().startService()
        for look, every in (
            (self._look_at_processes, EVERY),
            (self._look_at_disk, EVERY),
            (self._measure, MEASURE_EVERY),
        ):
            loop = LoopingCall(self._guarded, look)
            loop.clock = self._means.reactor
            loop.start(every, now=False)
            self._loops.append(loop)

    def stopService(self) -> Any:
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.stop()
        return super().stopService()

    def _guarded(self, look: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        # The next one may be luckier; ending here would leave nobody who looks.
        looking = Deferred.fromCoroutine(look())
        return looking.addErrback(lambda failure: self._log.failure("while looking at limits", failure=failure))

    async def _look_at_processes(self) -> None:
        watched = self._means.isolation.watched()
        looking = []
        for instance, running in self._running():
            limits = running.line.settings.limits
            if (limits.memory and "memory" in watched) or (limits.processes and "processes" in watched):
                looking.append(Deferred.fromCoroutine(self._check_use(instance, running, watched)))
        await DeferredList(looking, fireOnOneErrback=True, consumeErrors=True)

    async def _check_use(self, instance: Instance, running: Running, watched: Collection[str]) -> None:
        limits = running.line.settings.limits
        found = await self._census.find(running.line.id, running.session)
        used = await self._means.to_thread(usage, found, limits.memory)
        memory = used.memory if "memory" in watched else 0
        processes = used.processes if "processes" in watched else 0
        self._end(instance, running, excess(limits, memory, processes))

    async def _measure(self) -> None:
        for instance, running in self._running():
            if running.line.settings.limits.disk:
                size = await self._paced(self._size, running)
                self._end(instance, running, excess(running.line.settings.limits, disk=size))

    async def _look_at_disk(self) -> None:
        """Where half of the reserve is used up, too, whoever has written most since its start goes first."""
        free, reserved = await self._disk.to_thread(self._disk.free)
        if free >= reserved // 2:
            return
        running = {instance.line.id: (instance, running) for instance, running in self._running()}
        written = {id: await self._paced(self._written, running[id][1]) for id in running}
        worst = greediest(written)
        if worst is not None:
            size = bytes_text(written[worst])
            self._end(*running[worst], f"the disk is full ({bytes_text(free)} are left), and it has written {size}")

    async def _paced(self, measure: Callable[[Running], int], running: Running) -> int:
        """Measure, and leave the disk alone for some time after that."""
        clock = self._means.reactor
        began = clock.seconds()
        size: int = await self._disk.to_thread(measure, running)
        await deferLater(clock, (clock.seconds() - began) * SHARE)
        return size

    def _size(self, running: Running) -> int:
        return sum(size_of(path) for path in self._directories(running))

    def _written(self, running: Running) -> int:
        return sum(written_since(path, running.since - TOLERANCE) for path in self._directories(running))

    def _directories(self, running: Running) -> tuple[Path, Path]:
        line = running.line
        return self._means.scratch.path(line.id), self._disk.checkout(CheckoutKey.of(line))

    def _running(self) -> list[tuple[Instance, Running]]:
        return [(instance, running) for instance in self._instances() if (running := instance.running) is not None]

    def _end(self, instance: Instance, running: Running, why: str) -> None:
        """Unless it is another process by now."""
        if why and instance.running == running:
            instance.broken(why)
