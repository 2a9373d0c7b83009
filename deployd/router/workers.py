"""The worker processes of a router: fed with the table, replaced when they die, counted together.

Note [What a worker follows]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Each worker has a queue of what it is still to be told, in order: first the whole table as it was when the worker came,
then every change. It takes connections once the queue has been empty, and counts from then on: the hub is told of no
revision that one of those does not follow. One that dies is not waited for, as it sends no requests any more; one that
falls far behind, or fails at what it is told, is killed, and its successor starts from the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, Tally
from deployd.model.router import Standing, TableItem
from deployd.router.sums import Sums, together
from deployd.router.table import Snapshot
from deployd.router.worker_link import Spawn, WorkerLink
from deployd.wire.workers import Gauge

# Seconds until a dead worker is replaced: at first, and at most.
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
# One that lived as long has nothing to do with its predecessor's end.
STEADY = 10.0


class Workers:
    """``count`` processes that ``spawn`` makes; ``snapshot`` is the whole table; ``changed``: they stand elsewhere."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        count: int,
        spawn: Spawn,
        snapshot: Callable[[], Snapshot],
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._count = count
        self._spawn = spawn
        self._snapshot = snapshot
        self._changed = changed
        self._links: list[WorkerLink] = []
        self._sums = Sums()
        self._forbidden: list[tuple[str, int]] = []
        self._delay = FIRST_DELAY
        self._waiting: set[IDelayedCall] = set()
        self._closing = False

    @property
    def serving(self) -> int:
        return sum(link.serves for link in self._links)

    def start(self) -> None:
        for _ in range(self._count):
            self._add()

    def forbid(self, addresses: Iterable[tuple[str, int]]) -> None:
        self._forbidden = list(addresses)
        for link in self._links:
            link.forbid(self._forbidden)

    def follow(self, revision: Revision, items: tuple[TableItem, ...], whole: bool) -> Deferred[None]:
        """Fires once every worker that serves follows."""
        self._sums.forget(self._gone_routes(items, whole))
        told = [link.follow(revision, items, whole) for link in self._links]
        waited = [done for link, done in zip(self._links, told, strict=True) if link.counts]
        done: Deferred[Any] = DeferredList(waited)
        return done.addCallback(lambda _: None)

    def change_rows(self, put: Iterable[Registration], gone: Iterable[str], revision: Revision) -> None:
        put, gone = tuple(put), tuple(gone)
        for link in self._links:
            link.change_rows(put, gone, revision)

    def standing(self, newest: Standing) -> Standing:
        """All that serve together; ``newest`` is what they are being told."""
        return together(newest, [link.standing for link in self._links if link.counts])

    def tallies(self, since: int) -> tuple[int, tuple[Tally, ...]]:
        return self._sums.read(since)

    def gauge(self) -> Gauge:
        gauges = [link.gauge for link in self._links]
        return Gauge(
            connections=sum(gauge.connections for gauge in gauges),
            requests=sum(gauge.requests for gauge in gauges),
            ejected=max((gauge.ejected for gauge in gauges), default=0),
            dropped=sum(gauge.dropped for gauge in gauges),
        )

    def finish(self) -> Deferred[None]:
        """Let nobody take new connections; fires when none does."""
        self._closing = True
        for call in self._waiting:
            call.cancel()
        self._waiting.clear()
        done: Deferred[Any] = DeferredList([link.finish() for link in self._links])
        return done.addCallback(lambda _: None)

    def ended(self, limit: float) -> Deferred[None]:
        """Fires once all processes are gone, after ``finish``; what is left after ``limit`` seconds is killed."""
        if not self._links:
            return succeed(None)
        killing = self._reactor.callLater(limit, self._kill)
        done: Deferred[Any] = DeferredList([link.when_gone() for link in self._links])

        def over(_: Any) -> None:
            if killing.active():
                killing.cancel()

        return done.addCallback(over)

    def _gone_routes(self, items: tuple[TableItem, ...], whole: bool) -> set[RouteKey]:
        if not whole:
            return {item.gone for item in items if item.gone is not None}
        return self._sums.routes() - {item.route.key for item in items if item.route is not None}

    def _add(self) -> None:
        link = WorkerLink(self._reactor, self._spawn, self._sums.worker(), self._changed)
        self._links.append(link)
        link.when_gone().addCallback(lambda _: self._gone(link, self._reactor.seconds()))
        link.forbid(self._forbidden)
        link.feed(self._snapshot())
        link.start()

    def _gone(self, link: WorkerLink, now: float) -> None:
        self._links.remove(link)
        link.counted.ended()
        self._changed()
        if self._closing:
            return
        if now - link.started > STEADY:
            self._delay = FIRST_DELAY
        self._log.error("a worker {end}; another one starts in {delay:.1f} s", end=link.end, delay=self._delay)
        call = self._reactor.callLater(self._delay, self._replace)
        self._waiting.add(call)
        self._delay = min(self._delay * 2, LONGEST_DELAY)

    def _replace(self) -> None:
        self._waiting = {call for call in self._waiting if call.active()}
        self._add()

    def _kill(self) -> None:
        for link in self._links:
            link.kill("did not end in time")
