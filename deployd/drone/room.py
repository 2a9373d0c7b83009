"""The room on the drone's disk: what is new must fit beside what runs, and what can be made again gives way."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.problem import Hopeless
from deployd.planning import disk
from deployd.planning.disk import Stored
from deployd.processes.ending import ToThread

PLENTY = 4 << 30
"""With so much to spare nothing is measured before it comes: no commit may have more (``GitLimits``)."""
TIDY_EVERY = 600.0
Measure = Callable[[], Awaitable[int | None]]


class Shelf(Protocol):
    """Something that takes room and can be made again. ``holder``: the app whose checkouts the asker has locked."""

    def stored(self, holder: str) -> Deferred[list[Stored]]: ...
    def drop(self, stored: Stored, holder: str) -> Coroutine[Any, Any, None]: ...


class Caches(Shelf, Protocol):
    def drop_half_made(self) -> Coroutine[Any, Any, None]: ...


class Room:
    """``top`` is a directory of the disk, ``running`` says how many bytes the checkouts have (it blocks).

    ``reserve`` bytes are left free, None: the default of ``deployd.planning.disk``. Caches that nothing uses go when
    all take more than ``budget`` bytes. ``free`` gives the free and all bytes of a disk.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        to_thread: ToThread,
        top: Path,
        running: Callable[[], int],
        reserve: int | None,
        budget: int,
        free: Callable[[Path], tuple[int, int]] | None = None,
    ) -> None:
        self._to_thread = to_thread
        self._top = top
        self._running = running
        self._reserve = reserve
        self._budget = budget
        self._free = free or free_bytes
        self._shelves: tuple[Shelf, ...] = ()
        self._caches: Caches | None = None
        self._tidying = LoopingCall(self._tidy)
        self._tidying.clock = clock

    def open(self, spares: Shelf, caches: Caches) -> None:
        """These give way from now on; ``caches`` are kept within their budget."""
        self._shelves, self._caches = (spares, caches), caches
        self._tidying.start(TIDY_EVERY, now=False)

    def close(self) -> None:
        if self._tidying.running:
            self._tidying.stop()

    def need(self, what: str, holder: str, measure: Measure) -> Deferred[None]:
        """Make room for ``what``; fails with Hopeless, which has the numbers, if it does not fit.

        ``holder`` as for a Shelf. ``measure`` gives the bytes that are needed, None when nobody can know.
        """
        return Deferred.fromCoroutine(self._need(what, holder, measure))

    async def _need(self, what: str, holder: str, measure: Measure) -> None:
        if await self._spare_bytes() >= PLENTY:
            return
        needed = await measure()
        if needed is None or needed <= (room := await self._spare_bytes()):
            return
        found = {stored: shelf for shelf in self._shelves for stored in await shelf.stored(holder)}
        for stored in disk.evicted(found, needed - room):
            self._log.info("{name} gives way to {what}", name=stored.name, what=what)
            await found[stored].drop(stored, holder)
        room = await self._spare_bytes()
        if needed > room:
            running = await self._to_thread(self._running)
            running += sum(stored.size for stored in found if stored.in_use)
            raise Hopeless(disk.refusal(what, needed, room, await self._reserved(), running))

    def left(self) -> tuple[int, int]:
        """The bytes that are free, and those that should stay so. Blocks."""
        free, total = self._free(self._top)
        return free, disk.reserve(self._reserve, total)

    async def _spare_bytes(self) -> int:
        """What may still be written; less than nothing where others have used the reserve."""
        free, reserved = await self._to_thread(self.left)
        return int(free - reserved)

    async def _reserved(self) -> int:
        _, reserved = await self._to_thread(self.left)
        return int(reserved)

    def _tidy(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._keep_budget()).addErrback(self._not_tidied)

    async def _keep_budget(self) -> None:
        assert self._caches is not None
        await self._caches.drop_half_made()
        for stored in disk.over_budget(await self._caches.stored(""), self._budget):
            self._log.info("{name} goes: nothing uses it, and the caches have grown too large", name=stored.name)
            await self._caches.drop(stored, "")

    def _not_tidied(self, failure: Failure) -> None:
        self._log.warn("cannot tidy the caches: {error}", error=failure.value)


def free_bytes(path: Path) -> tuple[int, int]:
    """(free for this user, all) of the disk of ``path``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
