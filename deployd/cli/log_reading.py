"""Logs of an app from its drones, through the hub: read to the end, or followed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from deployd.cli.cluster import Cluster, Row
from deployd.cli.log_lines import Line, Source
from deployd.cli.log_merging import NEVER, Merger
from deployd.errors import Busy, DeploydError, DroneAway, NoAnswer, UnknownDrone, Unreachable
from deployd.net.peer import CALL_TIMEOUT, Peer
from deployd.processes.log_page import unpack_from
from deployd.wire.control import Logs, LogSources

AT_ONCE = 32
"""So many drones are asked at a time; a session may ask for little more."""
WAIT, SHORT_WAIT = 10.0, 0.5
BREATH = 0.2
"""Seconds before who had nothing to tell, though it should have waited, is asked again."""
AWAY = 0.5
PATIENCE = 6.0
"""Seconds between looks for one that is away, and those after which that is worth a word."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
GIVE_UP = 10.0
"""Seconds for which a hub that was lost is dialled again when nothing is followed."""
LEAST = 0.01
NEWCOMERS = 10.0
"""Seconds between looks for drones that have come."""


@frozen
class Asked:
    """Whose logs: ``newest`` lines (None: all) of what was printed after ``since`` (seconds since 1970; None: ever)."""

    app: str
    commit: str = ""
    role: str = ""
    drones: tuple[str, ...] = ()
    newest: int | None = 100
    since: float | None = None
    follow: bool = False


class _Absence:
    """Says once that a drone is away; of one that was there only when that lasts: it may come right back."""

    def __init__(self, drone: str, follow: bool, note: Callable[[str], None]) -> None:
        self._drone = drone
        self._follow = follow
        self._note = note
        self._since: float | None = None
        self._met = self._said = False

    def goes_on(self, error: DeploydError, now: float) -> None:
        if self._since is None:
            self._since = now
        if not self._said and (not self._met or not self._follow or now - self._since >= PATIENCE):
            self._said = True
            self._note(f"{error}{'; its lines follow when it is back' if self._follow else ''}")

    def ends(self) -> None:
        self._met, self._said, self._since = True, False, None


class LogReader:
    """``show`` gets lines in order and fires when they are out; ``note`` gets sentences for people; ``wall`` gives
    seconds since 1970."""

    def __init__(
        self,
        cluster: Cluster,
        asked: Asked,
        show: Callable[[list[Line]], Awaitable[None]],
        note: Callable[[str], None],
        wall: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        self._asked = asked
        self._show = show
        self._note = note
        self._wall = wall
        self._merger = Merger()
        self._releases: list[str] = []
        self._dialling: DeferredLock = DeferredLock()
        self._turns = DeferredSemaphore(AT_ONCE)
        self._reading: set[str] = set()
        self._works: set[Deferred[None]] = set()
        self._lost: float | None = None
        self._noted = -math.inf
        self._failure: Failure | None = None
        self._changed: Deferred[None] = Deferred()
        self.shown = 0

    async def run(self) -> None:
        """Until all is shown, or for ever; raise UnknownApp, UnknownCommit, UnknownDrone, ..."""
        drones = await self._sources()
        if not self._asked.follow and not drones:
            return
        for drone in drones:
            self._begin(self._read(drone, self._start()))
        if self._asked.follow:
            self._begin(self._look_for_newcomers())
        try:
            await self._put_out()
        finally:
            for work in list(self._works):
                work.cancel()

    # The drones.

    def _start(self) -> int:
        since = self._asked.since
        return -1 if since is None else max(0, int(since * 1e6) - 1)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        doing = Deferred.fromCoroutine(work)
        self._works.add(doing)
        doing.addErrback(self._failed).addCallback(self._done, doing)

    def _failed(self, failure: Failure) -> None:
        self._failure = self._failure or failure

    def _done(self, _: None, work: Deferred[None]) -> None:
        self._works.discard(work)
        self._news()

    async def _sources(self) -> list[str]:
        asked = self._asked
        rows: dict[str, Row] = {}
        for name in asked.drones or ("",):
            answer = await self._ask(LogSources, CALL_TIMEOUT, app=asked.app, commit=asked.commit, drone=name)
            rows |= {row["name"]: row for row in answer["drones"]}
            self._releases = answer["releases"]
        new = [name for name in rows if name not in self._reading]
        for name in new:
            self._merger.expect(name)
            self._reading.add(name)
        return new

    async def _look_for_newcomers(self) -> None:
        while True:
            begun = int(self._wall() * 1e6)
            await deferLater(self._clock, NEWCOMERS)
            for drone in await self._sources():
                self._begin(self._read(drone, begun))

    async def _read(self, drone: str, after: int) -> None:
        """Read one drone on and on; while it is away, the others go on without it."""
        absence = _Absence(drone, self._asked.follow, self._note)
        end: int | None = None
        while True:
            try:
                page = await self._page(drone, after)
            except (DroneAway, Busy, UnknownDrone) as error:
                self._merger.lose(drone, self._clock.seconds())
                self._news()
                absence.goes_on(error, self._clock.seconds())
                if not self._asked.follow or isinstance(error, UnknownDrone):
                    break
                await deferLater(self._clock, AWAY)
                continue
            absence.ends()
            after = page["next"]
            self._take(drone, page)
            if page["more"] and end is None and not self._asked.follow:
                end = await self._end(drone)
            if page["more"] and (end is None or after < end):
                await self._room(drone)
            elif not self._asked.follow:
                break
            elif not page["data"]:
                await deferLater(self._clock, BREATH)
        self._merger.lose(drone, self._clock.seconds(), over=True)

    async def _end(self, drone: str) -> int:
        """Up to where it has printed by now: who prints on as fast as he is read is not read for ever."""
        try:
            return int((await self._page(drone, -1, 1))["next"])
        except (DroneAway, Busy, UnknownDrone):
            # The next page meets that, too.
            return NEVER

    async def _page(self, drone: str, after: int, newest: int | None = None) -> Row:
        asked = self._asked
        newest = asked.newest if newest is None else newest
        wait = 0.0 if not asked.follow or after < 0 else WAIT if len(self._reading) <= AT_ONCE else SHORT_WAIT
        await self._turns.acquire()
        try:
            return await self._ask(
                Logs,
                wait + 2 * CALL_TIMEOUT,
                drone=drone,
                app=asked.app,
                releases=self._releases,
                role=asked.role,
                after=after,
                newest=newest or 0,
                wait=wait,
            )
        finally:
            self._turns.release()

    def _take(self, drone: str, page: Row) -> None:
        sources = [Source.of(drone, row) for row in page["sources"]]
        records = [(sources[position], record) for position, record in unpack_from(page["data"])]
        self._merger.expect(drone)
        self._merger.tell(drone, records, page["next"], page["more"], self._clock.seconds())
        self._news()

    async def _room(self, drone: str) -> None:
        while not self._merger.has_room(drone) and self._failure is None:
            await self._change(None)

    # The hub.

    async def _ask(self, command: type[Command], patience: float, **arguments: Any) -> Row:
        """As the hub answers; where it goes away, ask again until it is back."""
        pause = FIRST_PAUSE
        while True:
            hub: Peer | None = None
            try:
                await self._dialling.acquire()
                try:
                    hub = await self._cluster.hub()
                finally:
                    self._dialling.release()
                answer: Row = await hub.ask(command, arguments, patience)
            except Unreachable as error:
                if hub is None and not self._cluster.met_hub:
                    raise
                if isinstance(error, NoAnswer) and hub is not None:
                    # Whoever else waits for it meets it again too.
                    hub.transport.abortConnection()
                # First, since Ctrl-C ends the connection too.
                await deferLater(self._clock, pause)
                self._lose_hub(error)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._lost = None
                return answer

    def _lose_hub(self, error: Unreachable) -> None:
        now = self._clock.seconds()
        if self._lost is None:
            self._lost = now
            # A hub that is going, or coming, may answer some and not others: that is one outage.
            if now - self._noted > PATIENCE:
                self._note(f"{error}; going on when the hub is back")
            self._noted = now
        elif not self._asked.follow and now - self._lost > GIVE_UP:
            raise error

    # The lines.

    async def _put_out(self) -> None:
        """Show what can be shown, as long as there may be more."""
        asked = self._asked
        first: deque[Line] | None = deque(maxlen=asked.newest) if asked.newest is not None else None
        while self._failure is None:
            all_there = first is not None and asked.follow and not self._merger.behind
            lines = self._merger.take(self._clock.seconds(), everything=all_there)
            taken = bool(lines)
            if taken:
                # There is room again.
                self._news()
            over = not asked.follow and self._merger.all_gone and self._merger.empty
            if first is not None:
                first.extend(lines)
                lines = []
                if over or all_there:
                    lines, first = list(first), None
            if lines:
                self.shown += len(lines)
                await self._show(lines)
            if over:
                return
            # What was told while lines were taken and shown is looked at first.
            if not taken:
                await self._change(self._merger.due())
        self._failure.raiseException()

    def _news(self) -> None:
        changed, self._changed = self._changed, Deferred()
        changed.callback(None)

    async def _change(self, due: float | None) -> None:
        """Until something has changed, or it is ``due``."""
        waiter: Deferred[None] = Deferred()
        self._changed.addCallback(lambda _: None if waiter.called else waiter.callback(None))
        if due is not None:
            left = max(LEAST, due - self._clock.seconds())
            waiter.addTimeout(left, self._clock, lambda result, _: None)
        await waiter
