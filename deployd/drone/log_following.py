"""Logs as they are asked for: at once, or when there is something."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.log_reading import Page, Reading, Wanted
from deployd.drone.logs import LogFiles
from deployd.errors import InternalError
from deployd.processes.ending import ToThread

POLL = 0.15
SHARE = 20
"""Looking takes at most one part in so many of a core: with very many instances it is done less often."""
MAX_WAIT = 30.0
MAX_WAITING = 16
"""The hub has room for so many commands at once at a drone that other things always get through."""


@frozen(eq=False)
class _Waiter:
    reading: Reading
    deadline: float
    answer: Deferred[Page]


class LogFollowing:
    """``to_thread`` is one thread of its own: what is read from ``files`` is read there."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, to_thread: ToThread, files: LogFiles) -> None:
        self._clock = clock
        self._to_thread = to_thread
        self._files = files
        self._waiting: list[_Waiter] = []
        self._next: IDelayedCall | None = None
        self._looking = False
        self._pause = POLL
        self._closed = False

    async def read(self, wanted: Wanted, after: int, newest: int, wait: float) -> Page:
        """The page after ``after`` (below 0: from ``newest`` lines before the end); waits for one that is not empty.

        With too many who wait already it is answered at once.
        """
        reading, page = await self._to_thread(_begin, self._files, wanted, after, newest)
        if page.data or wait <= 0 or self._closed or len(self._waiting) >= MAX_WAITING:
            self._to_thread(self._files.put_back, reading)
            return page  # type: ignore[no-any-return]
        waiter = _Waiter(reading, self._clock.seconds() + min(wait, MAX_WAIT), Deferred())
        self._waiting.append(waiter)
        self._look_soon()
        return await waiter.answer

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()
            self._look()

    def _look_soon(self) -> None:
        if self._waiting and self._next is None and not self._looking and not self._closed:
            self._next = self._clock.callLater(self._pause, self._look)

    def _look(self) -> None:
        """One look for all who wait."""
        self._next = None
        self._looking = True
        waiters = list(self._waiting)
        looking = self._to_thread(_look, [waiter.reading for waiter in waiters])
        began = self._clock.seconds()
        looking.addCallbacks(self._looked, self._failed, callbackArgs=(waiters, began), errbackArgs=(waiters,))

    def _looked(self, pages: list[Page], waiters: list[_Waiter], began: float) -> None:
        self._looking = False
        now = self._clock.seconds()
        self._pause = max(POLL, (now - began) * SHARE)
        for waiter, page in zip(waiters, pages, strict=True):
            if page.data or now >= waiter.deadline or self._closed:
                self._waiting.remove(waiter)
                self._to_thread(self._files.put_back, waiter.reading)
                waiter.answer.callback(page)
        self._look_soon()

    def _failed(self, failure: Failure, waiters: list[_Waiter]) -> None:
        self._log.failure("while logs are read", failure=failure)
        self._looking = False
        for waiter in waiters:
            self._waiting.remove(waiter)
            waiter.answer.errback(InternalError())
        self._look_soon()


def _begin(files: LogFiles, wanted: Wanted, after: int, newest: int) -> tuple[Reading, Page]:
    reading = files.reading(wanted, after, newest)
    return reading, reading.page()


def _look(readings: list[Reading]) -> list[Page]:
    return [reading.page() for reading in readings]
