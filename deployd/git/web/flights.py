"""Packs that are being made, or were made lately: whoever asks for the same gets the same file, made once.

A pack is written by a worker into a file without a name, in the spool directory, and read by everybody who asked for it
while it grows. Such a file goes with its last descriptor, so nothing is ever left behind, and nothing is taken from who
still reads. What nobody reads is kept as long as there is room, the latest the longest.

Note [Pieces]
~~~~~~~~~~~~~
The job that makes a pack answers with ``remarks`` on it, and ``pieces``, each of a source, a start and an end: a path,
for a slice of one of the repository's own packs; "" for a slice of what goes along with the answer; None for a slice of
the file. One that has slices of a repository's packs is not kept, since those packs may be merged into others.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from deployd.errors import Busy
from deployd.git.web.supply import Slice, Supply
from deployd.git.work.messages import Document
from deployd.git.work.orders import Answer, Note

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Prepare = Callable[[int, Note], Deferred[Answer]]
"""Has a pack made into that descriptor; the notes say its ``size`` so far."""


@frozen
class Room:
    """How much is kept: bytes on the disk, and files."""

    bytes: int
    files: int


@define(eq=False)
class Flight:
    """One pack, of which ``size`` bytes are in a file of its own; ``readers`` read it now."""

    key: str
    supply: Supply = field(factory=Supply)
    readers: int = 0
    size: int = 0
    making: Deferred[None] = field(factory=Deferred)
    _file: Any = None
    _packs: dict[str, int] = field(factory=dict)

    @property
    def is_kept(self) -> bool:
        """Whether it is worth keeping once nobody reads it."""
        return self.supply.ended and self.supply.problem is None and not self._packs

    def open(self, spool: str) -> int:
        """A new file for it; raise OSError."""
        self.close()
        self.size = 0
        self._file = tempfile.TemporaryFile(dir=spool, buffering=0)  # noqa: SIM115
        return int(self._file.fileno())

    def noted(self, note: Document) -> None:
        """Its file has grown."""
        self.size = note["size"]
        self.supply.grow(self._file.fileno(), self.size)

    def finished(self, answer: Answer) -> None:
        """All of it is there (Note [Pieces]); raise OSError when a pack of the repository is not any more."""
        pieces: list[bytes | Slice] = []
        for source, start, end in answer.document["pieces"]:
            if source == "":
                pieces.append(answer.body[start:end])
            elif source is None:
                self.size = max(self.size, end)
                pieces.append(Slice(self._file.fileno(), start, end))
            else:
                if source not in self._packs:
                    self._packs[source] = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
                pieces.append(Slice(self._packs[source], start, end))
        self.supply.end(pieces, answer.document["remarks"])

    def close(self) -> None:
        """Give up its descriptors. It may take a while to free a large file."""
        packs, self._packs = self._packs, {}
        for descriptor in packs.values():
            os.close(descriptor)
        if self._file is not None:
            self._file.close()


class Flights:
    """Used in the reactor thread; ``in_thread`` calls a function that blocks."""

    _log = Logger()

    def __init__(self, spool: str, room: Room, in_thread: Callable[..., Deferred[Any]]) -> None:
        self.made = self.shared = 0
        self._spool = spool
        self._room = room
        self._in_thread = in_thread
        self._flights: OrderedDict[str, Flight] = OrderedDict()
        # Those that nobody new may join, and that are being read.
        self._alone: set[Flight] = set()

    @property
    def bytes(self) -> int:
        """On the disk, in all files together."""
        return sum(flight.size for flight in (*self._flights.values(), *self._alone))

    @property
    def files(self) -> int:
        """How many packs there are, made or being made."""
        return len(self._flights) + len(self._alone)

    @property
    def readers(self) -> int:
        """How many read any of them."""
        return sum(flight.readers for flight in (*self._flights.values(), *self._alone))

    def join(self, key: str, prepare: Prepare) -> Flight:
        """Read the pack that ``key`` stands for, which ``prepare`` makes if it has to be. ``leave`` it afterwards.

        Raise Busy when there is no room for another one.
        """
        flight = self._flights.get(key)
        if flight is not None:
            self.shared += 1
            self._flights.move_to_end(key)
        else:
            self._trim()
            if self.bytes >= self._room.bytes:
                raise Busy("the hub has no room for another pack; try again in a moment")
            self.made += 1
            flight = self._flights[key] = Flight(key)
            self._make(flight, prepare)
        flight.readers += 1
        return flight

    def leave(self, flight: Flight) -> None:
        """Read no more; nobody is left to read what is not finished: it is made no more."""
        flight.readers -= 1
        if flight.readers:
            return
        if not flight.supply.ended:
            flight.making.cancel()
        elif flight.is_kept and self._flights.get(flight.key) is flight:
            self._trim()
        else:
            self._drop(flight)

    def close(self) -> None:
        """Keep nothing."""
        self._log.debug("{made} packs were made, and joined {shared} times.", made=self.made, shared=self.shared)
        for flight in [*self._flights.values(), *self._alone]:
            if not flight.readers:
                self._drop(flight)

    def _make(self, flight: Flight, prepare: Prepare) -> None:
        flight.making = Deferred.fromCoroutine(self._made(flight, prepare))
        flight.making.addErrback(self._failed, flight)

    async def _made(self, flight: Flight, prepare: Prepare) -> None:
        for last in (False, True):
            try:
                flight.finished(await prepare(flight.open(self._spool), flight.noted))
                return
            except OSError as error:
                if last or flight.size or not await self._helps(error):
                    raise

    async def _helps(self, error: OSError) -> bool:
        """Whether it may go well another time: the pack was merged into another one, or old files can make room."""
        if error.errno not in _NO_ROOM:
            return isinstance(error, FileNotFoundError)
        dropped = self._trim(everything=True)
        await DeferredList(dropped)
        return bool(dropped)

    def _failed(self, failure: Any, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
            self._alone.add(flight)
        if not failure.check(CancelledError):
            flight.supply.fail(failure.value)
        if not flight.readers:
            self._drop(flight)

    def _trim(self, everything: bool = False) -> list[Deferred[Any]]:
        """Drop what nobody reads, the oldest first, until the rest has room; fire when their room is free."""
        idle = [flight for flight in self._flights.values() if not flight.readers and flight.supply.ended]
        dropped = []
        for flight in idle:
            if not everything and self.bytes <= self._room.bytes and self.files <= self._room.files:
                break
            dropped.append(self._drop(flight))
        return dropped

    def _drop(self, flight: Flight) -> Deferred[Any]:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        self._alone.discard(flight)
        closing = self._in_thread(flight.close)
        return closing.addErrback(lambda failure: self._log.failure("Closing a pack failed.", failure))
