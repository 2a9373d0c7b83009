"""``/v1/watch``: the table's changes as server-sent events, for as long as both ends want."""

from __future__ import annotations

from collections import Counter

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from deployd.errors import Busy
from deployd.net.turns import Turns
from deployd.registry.answers import write_head
from deployd.registry.event_lines import EventStream, Renderings, heartbeat
from deployd.registry.filter import RowFilter
from deployd.registry.outflow import Outflow
from deployd.registry.position import Phase, Position
from deployd.registry.service import Registry

EVENT_TYPE = "text/event-stream"

# Seconds without an event after which a sign of life is sent.
HEARTBEAT = 15.0

# Fewer than the watches that there may be (deployd.registry.watching), so that all of them may sleep.
STREAMS = 5000
STREAMS_PER_ADDRESS = 2500

# Clients come back so many milliseconds after an end, not all at once.
RETRY = 1000
RETRY_SPREAD = 2000
_STEP = 997


class Streams:
    """Who watches over HTTP: bounded per address and in all."""

    def __init__(
        self,
        registry: Registry,
        clock: IReactorTime,
        turns: Turns,
        limit: int = STREAMS,
        per_address: int = STREAMS_PER_ADDRESS,
    ) -> None:
        self.registry = registry
        self.clock = clock
        self.turns = turns
        self.renderings = Renderings()
        self._limit = limit
        self._per_address = per_address
        self._addresses: Counter[str] = Counter()
        self._begun = 0

    @property
    def count(self) -> int:
        return self._addresses.total()

    def enter(self, address: str) -> int:
        """The number of milliseconds after which this one shall come back when it is over; raise Busy."""
        if self._addresses[address] >= self._per_address:
            raise Busy(f"{self._per_address} watches come from your address already; try again in a moment")
        if self.count >= self._limit:
            raise Busy("too many watch already; try again in a moment")
        self._addresses[address] += 1
        self._begun += 1
        return RETRY + self._begun * _STEP % RETRY_SPREAD

    def leave(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]


@define(eq=False)
class Events:
    """One watch: what comes after ``since`` of the rows that ``wanted`` takes."""

    streams: Streams
    address: str
    since: Position | None
    wanted: RowFilter
    _stream: EventStream = field(init=False)

    async def send(self, request: Request) -> None:
        retry = self.streams.enter(self.address)
        try:
            write_head(request, 200, {"content-type": EVENT_TYPE, "x-accel-buffering": "no"})
            if request.method != b"HEAD":
                await self._send(request, retry)
            request.finish()
        finally:
            self.streams.leave(self.address)

    async def _send(self, request: Request, retry: int) -> None:
        flow = Outflow(request, self.streams.clock)
        self._stream = EventStream(self.streams.renderings, self.since)
        try:
            await flow.write(b"retry: %d\n\n" % retry)
            await self._follow(flow)
        finally:
            self.streams.registry.stop_watching(self)
            flow.close()

    async def _follow(self, flow: Outflow) -> None:
        registry, stream = self.streams.registry, self._stream
        is_at_end = False
        while registry.running:
            if not is_at_end:
                # Whoever has a lot to catch up with takes turns with all others.
                await self.streams.turns.next()
            try:
                page = await registry.follow(stream.position, self.wanted, HEARTBEAT, self, self.address)
            except Busy:
                # Too many watch in other ways; this one may come back.
                return
            is_at_end = page.whole and page.position.phase is Phase.LIVE
            events = stream.after(page)
            if events or stream.is_holding:
                await flow.write(events)
            else:
                await flow.write(heartbeat(page.position))
