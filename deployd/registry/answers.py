"""Answers over HTTP: JSON documents, small ones at once and large ones in slices."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from deployd.errors import Busy
from deployd.net.turns import Turns
from deployd.registry.outflow import Outflow

JSON_TYPE = "application/json"

# An answer that takes longer, however it is read, is cut off.
LONGEST = 300.0

# What is made before the reactor comes around again: so many seconds, bytes, steps at the most.
SLICE = 0.004
SLICE_BYTES = 48 * 1024
SLICE_STEPS = 1000
_LOOK_AT_CLOCK = 16

LARGE_ANSWERS = 64
LARGE_ANSWERS_PER_ADDRESS = 16


class Sendable(Protocol):
    """What answers a request."""

    async def send(self, request: Request) -> None:
        """Write it and finish the request; raise BadRequest or Busy before anything is written."""


@frozen
class Answer:
    """A JSON document and its HTTP status."""

    document: Any
    code: int = 200
    headers: Mapping[str, str] = field(factory=dict)

    async def send(self, request: Request) -> None:
        body = json.dumps(self.document).encode() + b"\n"
        write_whole(request, body, self.code, self.headers)


@frozen
class Text:
    """A text that is made at once."""

    body: bytes
    media_type: str

    async def send(self, request: Request) -> None:
        write_whole(request, self.body, 200, {"content-type": self.media_type})


class Tables:
    """The large answers under way, of which each holds the rows as they were: bounded per address and in all."""

    def __init__(
        self, clock: IReactorTime, limit: int = LARGE_ANSWERS, per_address: int = LARGE_ANSWERS_PER_ADDRESS
    ) -> None:
        self.clock = clock
        self.turns = Turns(clock)
        self._limit = limit
        self._per_address = per_address
        self._addresses: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return self._addresses.total()

    def check(self, address: str) -> None:
        """Raise Busy when there may be no more of them."""
        if self._addresses[address] >= self._per_address:
            raise Busy(f"{self._per_address} large answers are on their way to your address; try again in a moment")
        if self.count >= self._limit:
            raise Busy("too many large answers are on their way already; try again in a moment")

    def enter(self, address: str) -> None:
        self.check(address)
        self._addresses[address] += 1

    def leave(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]


@frozen
class Table:
    """A document made of ``parts``, each of which takes microseconds; many may be empty.

    What fits into the first slice is sent as a whole, more of it in slices, as fast as it is read.
    """

    tables: Tables
    address: str
    parts: Iterator[bytes]
    code: int = 200
    headers: Mapping[str, str] = field(factory=dict)

    _log = Logger()

    async def send(self, request: Request) -> None:
        slices = _Slices(self.parts, self.tables.clock)
        first = slices.take()
        if slices.ended:
            write_whole(request, first, self.code, self.headers)
            return
        if request.method == b"HEAD":
            write_head(request, self.code, self.headers)
            request.finish()
            return
        self.tables.enter(self.address)
        try:
            await self._send(request, first, slices)
        finally:
            self.tables.leave(self.address)

    async def _send(self, request: Request, first: bytes, slices: _Slices) -> None:
        write_head(request, self.code, self.headers)
        flow = Outflow(request, self.tables.clock)
        deadline = self.tables.clock.callLater(LONGEST, flow.cut_off)
        try:
            await flow.write(first)
            while not slices.ended:
                await self.tables.turns.next()
                await flow.write(slices.take())
        finally:
            if deadline.active():
                deadline.cancel()
            flow.close()
        request.finish()


class _Slices:
    """``parts``, joined to as much as a slice has; ``ended`` once the last was taken."""

    def __init__(self, parts: Iterator[bytes], clock: IReactorTime) -> None:
        self._parts = parts
        self._clock = clock
        self.ended = False

    def take(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        until = self._clock.seconds() + SLICE
        for step in range(SLICE_STEPS):
            part = next(self._parts, None)
            if part is None:
                self.ended = True
                break
            if part:
                taken.append(part)
                size += len(part)
            if size >= SLICE_BYTES or (step % _LOOK_AT_CLOCK == 0 and self._clock.seconds() >= until):
                break
        return b"".join(taken)


def write_head(request: Request, code: int, headers: Mapping[str, str]) -> None:
    request.setResponseCode(code, HTTPStatus(code).phrase.encode())
    for name, value in ({"content-type": JSON_TYPE, "cache-control": "no-store"} | dict(headers)).items():
        request.setHeader(name.encode(), value.encode())
    request.setHeader(b"x-content-type-options", b"nosniff")
    if code == 429:
        request.setHeader(b"retry-after", b"1")


def write_whole(request: Request, body: bytes, code: int, headers: Mapping[str, str]) -> None:
    write_head(request, code, headers)
    request.setHeader(b"content-length", b"%d" % len(body))
    if request.method != b"HEAD":
        request.write(body)
    request.finish()
