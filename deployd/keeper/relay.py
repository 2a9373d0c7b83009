"""What the apps print, from their pipes into their logs, in a thread of its own.

Note [A chatty app blocks on its own pipe]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Each process may print RATE bytes a second, after a burst; then its pipes are left alone until it may again, and
once they are full, it waits. A turn takes from TURN pipes at most CHUNK bytes each, whoever has waited longest first,
so that all get their part and orders from the main thread are never far away.
"""

from __future__ import annotations

import heapq
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count

from deployd.keeper.segments import Segments
from deployd.keeper.stamps import Stamps
from deployd.processes.records import WORDS, Record, pack, parts

CHUNK = 64 * 1024
TURN = 32
RATE = 8 * 1024 * 1024
BURST = 8 * 1024 * 1024
AFTER_FAILURE = 0.5
_LEAST = 256 * 1024
"""So much may be printed when one that had to wait is read again."""


class Source:
    """One process: the pipes that lead to it (descriptor to stream), and how much it may still print."""

    def __init__(self, log: str, pipes: Mapping[int, int], now: float) -> None:
        self.log = log
        self.pipes = dict(pipes)
        self.waits = False
        self._left = float(BURST)
        self._counted = now

    def took(self, bytes: int, now: float) -> float:
        """It has printed that; the seconds for which it should not be read."""
        self._left = min(BURST, self._left + (now - self._counted) * RATE) - bytes
        self._counted = now
        return (_LEAST - self._left) / RATE if self._left <= 0 else 0.0


class Relay:
    """``segments`` and ``stamps`` are its thread's from ``start`` on. ``say`` hears what is wrong, in that thread."""

    def __init__(
        self,
        segments: Segments,
        stamps: Stamps,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._segments = segments
        self._stamps = stamps
        self._say = say
        self._clock = clock
        self._orders: deque[Callable[[], None]] = deque()
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._sources: dict[int, Source] = {}
        self._waiting: list[tuple[float, int, Source]] = []
        self._number = count()
        self._closed = False
        self._thread = threading.Thread(target=self.run, name="relay", daemon=True)

    # From the main thread.

    def start(self) -> None:
        self._thread.start()

    def watch(self, log: str, pipes: Mapping[int, int], words: str) -> Source:
        """Take over ``pipes`` (descriptor to stream), which are closed at their end; ``words`` come first."""
        source = Source(log, pipes, self._clock())
        self._order(partial(self._watch, source, words))
        return source

    def ended(self, source: Source, words: str, told: Callable[[], None]) -> None:
        """Its process has ended: its last output, then ``words``, then ``told`` is called, in the relay's thread."""
        self._order(partial(self._ended, source, words, told))

    def remark(self, log: str, words: str) -> None:
        """Write ``words`` into ``log``, whether anything prints into it or not."""
        self._order(partial(self._write, log, WORDS, words.encode()))

    def close(self) -> None:
        """Do what was ordered, then end."""
        self._order(self._close)
        self._thread.join(5.0)

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        os.eventfd_write(self._bell, 1)

    # In the relay's thread.

    def run(self) -> None:
        while not self._closed:
            try:
                self.turn(self._pause())
            except Exception as error:  # without it every app would wait for ever, once its pipe is full
                self._say(f"the relay has failed at something: {error!r}")
                time.sleep(AFTER_FAILURE)

    def turn(self, pause: float) -> None:
        """Wait up to ``pause`` seconds (-1: as long as it takes) for something to do, and do some of it."""
        for fd, _ in self._epoll.poll(pause, TURN):
            if fd == self._bell:
                os.eventfd_read(self._bell)
            else:
                self._read(fd)
        while self._orders:
            self._orders.popleft()()
        self._resume()

    def _pause(self) -> float:
        if self._orders:
            return 0.0
        return max(0.0, self._waiting[0][0] - self._clock()) if self._waiting else -1

    def _watch(self, source: Source, words: str) -> None:
        self._words(source, words)
        for fd in source.pipes:
            self._sources[fd] = source
            self._epoll.register(fd, select.EPOLLIN)

    def _ended(self, source: Source, words: str, told: Callable[[], None]) -> None:
        for fd in list(source.pipes):
            self._read(fd)
        self._words(source, words)
        told()

    def _close(self) -> None:
        self._closed = True
        for fd in list(self._sources):
            self._forget(fd)
        self._segments.close()
        self._stamps.close()
        self._epoll.close()
        os.close(self._bell)

    def _read(self, fd: int) -> None:
        source = self._sources.get(fd)
        if source is None:
            return
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._say(f"cannot read what {source.log} prints: {error.strerror}")
            data = b""
        if not data:
            self._forget(fd)
            return
        self._write(source.log, source.pipes[fd], data)
        now = self._clock()
        pause = source.took(len(data), now)
        if pause and not source.waits:
            source.waits = True
            for pipe in source.pipes:
                self._epoll.unregister(pipe)
            heapq.heappush(self._waiting, (now + pause, next(self._number), source))

    def _resume(self) -> None:
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            source = heapq.heappop(self._waiting)[2]
            source.waits = False
            for fd in source.pipes:
                self._epoll.register(fd, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        source = self._sources.pop(fd)
        del source.pipes[fd]
        if not source.waits:
            self._epoll.unregister(fd)
        os.close(fd)

    def _words(self, source: Source, words: str) -> None:
        self._write(source.log, WORDS, words.encode())

    def _write(self, log: str, stream: int, data: bytes) -> None:
        if not log:
            return
        records = [Record(self._stamps.next(), stream, part) for part in parts(data)]
        with suppress(OSError):
            self._stamps.save()
        self._segments.write(log, records[0].stamp, b"".join(map(pack, records)))
