"""The table's changes, one after the other, whatever happens to the connection.

Note [Pulled, not pushed]
~~~~~~~~~~~~~~~~~~~~~~~~~
What comes next is asked for only once the last event was taken, so a reader that is slow holds one page of lines here
and nothing in the registry. One that is too slow for the registry's history gets a reset, and after it the whole table.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from deployd.client.reader import WAIT, Document, Lines, Wanted, follow
from deployd.client.session import ReadingSession
from deployd.errors import Busy, DeploydError, Refused, Unreachable
from deployd.model.registration import Registration
from deployd.model.revision import NOW
from deployd.net.client import Dial
from deployd.net.link import RETRY
from deployd.wire.rows import registration

# So soon no registry at work says that nothing has changed.
SOON = 1.0

# A position outside of a reset's rows; from there on the place of each line is known too (docs/registry).
_LIVE = re.compile(r"([^.]+)\.[0-9]+")


@frozen
class RowEvent:
    """One change of the table: ``type`` is "put", "delete" or "reset".

    Of a "delete", ``row`` is what was there. After a "reset", which has no row, all that was known is void, and the
    rows that there are follow. ``more``: the next event belongs with this one, between them the table is not as anybody
    wanted it. ``position`` is where to go on from (``since``) once this event is dealt with.
    """

    type: str
    revision: int
    row: Registration | None
    position: str
    more: bool = False


class RowStream:
    """An asynchronous iterator of RowEvents; it ends when it is closed. One at a time may wait for the next."""

    def __init__(
        self,
        dial: Dial,
        wanted: Wanted,
        since: str,
        failed: Callable[[DeploydError], object],
        closed: Callable[[RowStream], object] = lambda stream: None,
    ) -> None:
        self.position = since
        self._clock = dial.clock
        self._wanted = wanted
        self._failed = failed
        self._closed = closed
        self._asked = since
        # Whether rows of a reset are coming, whose places only the registry knows.
        self._anew = False
        self._events: deque[RowEvent] = deque()
        self._held: RowEvent | None = None
        self._failures = 0
        self._asking: Deferred[None] | None = None
        self._waiting: Deferred[None] | None = None
        self._problem: BaseException | None = None
        self._ended = False
        self._session = ReadingSession(dial, failed)

    def __aiter__(self) -> RowStream:
        return self

    async def __anext__(self) -> RowEvent:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    def next(self) -> Deferred[RowEvent | None]:
        """The next event, None once the stream is closed.

        Fails where asking again would not help (UsageError, PermissionRefused, ...). May be cancelled.
        """
        return Deferred.fromCoroutine(self._given())

    def each(self, take: Callable[[RowEvent], object]) -> Deferred[None]:
        """Call ``take`` with each event, one after the other (what it returns is awaited if it is a Deferred).

        Fires once the stream is closed, fails as ``next`` does, or with what ``take`` raises.
        """
        return Deferred.fromCoroutine(self._each(take))

    def move(self, address: str) -> None:
        """Go on at the registry at ``address``."""
        self._session.move(address)

    def close(self) -> Deferred[Any]:
        """End it, also for whoever waits for the next event; fires once its connection is closed."""
        self._ended = True
        self._events.clear()
        self._closed(self)
        if self._asking is not None:
            self._asking.cancel()
        return self._session.stopService() if self._session.running else succeed(None)

    async def _each(self, take: Callable[[RowEvent], object]) -> None:
        async for event in self:
            result = take(event)
            if isinstance(result, Deferred):
                await result

    async def _given(self) -> RowEvent | None:
        if self._waiting is not None:
            raise Refused("somebody waits for the next event of this stream already")
        while not self._events and not self._ended:
            if self._asking is None:
                if not self._session.running:
                    self._session.startService()
                self._problem = None
                self._asking = Deferred.fromCoroutine(self._ask())
                self._asking.addBoth(self._asked_for)
            await self._answered()
        if self._ended:
            return None
        event = self._events.popleft()
        self.position = event.position
        return event

    async def _answered(self) -> None:
        """Whoever waits may give up; the question goes on, as the registry answers one after the other."""
        if self._asking is not None:
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def _asked_for(self, result: Failure | None) -> None:
        self._asking = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._problem = result.value
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)

    async def _ask(self) -> None:
        """Have some events, or not yet."""
        since = self._clock.seconds()
        try:
            # Where now is has to be known first, to come back to it.
            wait = WAIT if self._asked != NOW else 0.0
            came = await follow(await self._session.up(), self._asked, self._wanted, wait)
        except (Unreachable, Busy) as error:
            self._failures += 1
            self._failed(error)
            await deferLater(self._clock, RETRY(self._failures), lambda: None)
            return
        self._failures = 0
        self._take(came)
        if not came.lines and wait and self._clock.seconds() - since < SOON:
            # It did not wait, perhaps because it is about to end.
            await deferLater(self._clock, SOON, lambda: None)

    def _take(self, came: Lines) -> None:
        """The line that ends the page is at its position; for those before it is known outside of resets only.

        Whether the last line of a page belongs with another one is known when that comes, or when nothing comes.
        """
        live = _LIVE.fullmatch(self._asked)
        self._anew |= live is None or any(line["type"] == "reset" for line in came.lines)
        if self._held is not None and (came.lines or came.whole):
            held, self._held = self._held, None
            self._events.append(held if came.lines else evolve(held, position=came.position, more=False))
        for line in came.lines[:-1]:
            place = self._asked if self._anew or live is None else f"{live[1]}.{line['revision']}"
            self._events.append(_event(line, place, bool(line.get("more"))))
        for line in came.lines[-1:]:
            last = _event(line, came.position, not came.whole)
            if came.whole:
                self._events.append(last)
            else:
                self._held = last
        self._anew = self._anew and not came.whole
        self._asked = came.position


def _event(line: Document, position: str, more: bool) -> RowEvent:
    row = registration(line["row"]) if line["type"] != "reset" else None
    return RowEvent(line["type"], line["revision"], row, position, more)
