"""The routing table: what hub and registry say, ready for decisions.

Each call that changes it takes effect as a whole: no decision sees a part of an update.

Note [Requests of what is on its way out]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
An instance that is *leaving* and all instances of a release that is *retiring* are out of every pool from the update on
that says so, whether the registry still has their rows or not. The hub ends them once no request is under way there, so
those are counted, also for targets whose rows have gone meanwhile. ``begin`` and ``end`` do more only for such targets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Tally
from deployd.model.router import DroneHost, ReleaseKey, Standing, TableItem
from deployd.planning.ejection import Trouble
from deployd.router.accounts import Accounts
from deployd.router.belief import Address, Believed, RowChanges, is_candidate
from deployd.router.changes import Changes
from deployd.router.decision import Decision, Refusal
from deployd.router.document import document
from deployd.router.hosts import Hosts, ReadyRoute
from deployd.router.pools import Pools
from deployd.router.tallies import Tallies
from deployd.router.target import Target

GRACE = 45.0
MAX_WAITERS = 1000
_NEVER = Revision("", 0)


@frozen
class Snapshot:
    """All that hub and registry said: what a router needs to start without them."""

    table: Revision
    items: tuple[TableItem, ...]
    registry: Revision
    rows: tuple[Registration, ...]


class Table:
    """``closed`` is told of targets that get no requests any more; ``on_quiet`` are called when the last request ends
    at something that is leaving or retiring; ``fallen`` hears of rows that nobody confirmed. ``grace`` may be changed.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, grace: float = GRACE, max_waiters: int = MAX_WAITERS) -> None:
        self._clock = clock
        self.grace = grace
        self.table = self.registry = _NEVER
        self.closed: Callable[[Target], None] = lambda target: None
        self.fallen: Callable[[RowChanges], None] = lambda changes: None
        self.on_quiet: list[Callable[[], None]] = []
        self.pools = Pools()
        self.rows = Believed(self._came, self._went)
        self.hosts = Hosts()
        self.leaving: frozenset[str] = frozenset()
        self.retiring: frozenset[ReleaseKey] = frozenset()
        self.accounts = Accounts()
        self._tallies = Tallies()
        self._changes = Changes(max_waiters)
        self._falling: IDelayedCall | None = None

    # Requests.

    def decide(
        self, host: bytes, path: bytes, commit: bytes, cookies: bytes, now: float, point: float
    ) -> Decision | Refusal:
        """Where a request goes.

        ``host`` is in lower case and without port, ``path`` raw and without the query; ``commit`` is X-Deployd-Commit,
        ``cookies`` the Cookie headers joined by ``; ``, both b"" if there is none; ``point`` is random in [0, 1).
        """
        return self.hosts.decide(host, path, commit, cookies, point)

    def begin(self, target: Target) -> None:
        """A request goes to ``target``; ``end`` follows, whatever comes of it."""
        target.in_flight += 1
        if target.gone:
            self._account(target, 1)

    def end(self, target: Target) -> None:
        target.in_flight -= 1
        if target.gone:
            self._account(target, -1)

    def failed(self, target: Target, now: float) -> None:
        """It refused or closed the connection before an answer, or was silent for too long."""
        before = Trouble(target.failures, target.trouble_until)
        after = before.after_failure(now)
        if after is not before:
            target.failures, target.trouble_until = after.failures, after.until
            target.ejected_until = max(target.ejected_until, after.until)

    def worked(self, target: Target) -> None:
        """It answered."""
        if target.failures:
            target.failures, target.trouble_until, target.ejected_until = 0, 0.0, 0.0

    def when_changed(self) -> Deferred[None]:
        """Fires after the next change of routes or targets; may be cancelled. Raise Busy."""
        return self._changes.wait()

    # What the hub says.

    def follow(self, revision: Revision, items: Iterable[TableItem], whole: bool) -> None:
        """Take over the hub's table, or (without ``whole``) what has changed in it."""
        lines: dict[RouteKey, RouteLine | None] = {}
        drones: dict[str, str | None] = {}
        leaving, retiring = set(), set()
        if whole:
            lines.update(dict.fromkeys(self.hosts.routes))
            drones.update(dict.fromkeys(self.rows.drones))
        for item in items:
            if item.route is not None:
                lines[item.route.key] = item.route
            elif item.gone is not None:
                lines[item.gone] = None
            elif item.drone is not None:
                drones[item.drone.owner] = item.drone.host
            elif item.lost:
                drones[item.lost] = None
            elif item.leaving:
                leaving.add(item.leaving)
            elif item.retiring is not None:
                retiring.add(item.retiring)
        # All of them are made before the first is put in place.
        routes = {
            key: None if line is None else ReadyRoute(line, self.pools, self._tallies)
            for key, line in lines.items()
            if key not in self.hosts.routes or self.hosts.routes[key].line != line
        }
        for key, route in routes.items():
            self._route(key, route)
        self._depart(frozenset(leaving), frozenset(retiring))
        self.rows.know(drones)
        self.table = revision
        self._changes.happened()

    def forbid(self, addresses: Iterable[Address]) -> None:
        """Where deployd itself listens: rows that say so are refused (Note [What is believed])."""
        self.rows.forbid(addresses)
        self._changes.happened()

    # What the registry says.

    def rows_changed(self, put: Iterable[Registration], gone: Iterable[str], revision: Revision) -> RowChanges:
        """Take over one or more whole revisions of the registry, or none; an id in both is put."""
        self._meet(revision)
        given = {row.id: row for row in put}
        rows = [row for row in given.values() if is_candidate(row)]
        ids = {row.id for row in rows}
        going = [*(id for id in gone if id not in ids), *(given.keys() - ids)]
        return self._take(rows, going, revision)

    def rows_replaced(self, rows: Iterable[Registration], revision: Revision) -> RowChanges:
        """Take over all rows of the registry; unconfirmed ones stay (Note [Rows outlive their registry])."""
        self._meet(revision)
        known = [row for row in rows if is_candidate(row)]
        going = self.rows.ids().difference((row.id for row in known), self.rows.unconfirmed)
        return self._take(known, going, revision)

    def registry_lost(self) -> None:
        """The registry is not heard: nobody can confirm a row, so none falls, until it is heard again."""
        if self._falling is not None:
            self._falling.cancel()
            self._falling = None

    # How it stands.

    @property
    def lingering(self) -> Collection[Target]:
        """Targets whose rows have gone and that still have requests."""
        return self.accounts.lingering.keys()

    def standing(self) -> Standing:
        return Standing(self.table, self.registry, self.accounts.ids(), self.accounts.releases())

    def tallies(self, since: int = 0) -> tuple[int, tuple[Tally, ...]]:
        """The number of this reading, and the tallies that changed after the reading ``since`` (0: all there are)."""
        return self._tallies.read(since)

    def document(self) -> dict[str, Any]:
        """For a status page; with addresses, so for nobody but those who run the cluster."""
        return document(self, self._clock.seconds())

    def snapshot(self) -> Snapshot:
        items: list[TableItem] = [TableItem(route=route.line) for route in self.hosts.routes.values()]
        items.extend(TableItem(drone=DroneHost(owner, host)) for owner, host in self.rows.drones.items())
        items.extend(TableItem(leaving=id) for id in sorted(self.leaving))
        items.extend(TableItem(retiring=key) for key in sorted(self.retiring))
        return Snapshot(self.table, tuple(items), self.registry, tuple(self.rows))

    def restore(
        self, table: Revision, items: Iterable[TableItem], registry: Revision, rows: Iterable[Registration]
    ) -> None:
        """Begin with what was saved; its rows are unconfirmed."""
        if table != _NEVER:
            self.follow(table, items, True)
        for row in rows:
            if is_candidate(row):
                self.rows.put(row)
        self.rows.unconfirmed = self.rows.ids()
        self.registry = registry
        self._changes.happened()

    def _take(self, put: list[Registration], gone: Iterable[str], revision: Revision) -> RowChanges:
        news = [row for row in put if self.rows.put(row)]
        going = [*gone, *self.rows.unconfirmed_of({row.owner for row in put})]
        dropped = [id for id in going if self.rows.drop(id)]
        self.registry = revision
        if not self.rows.unconfirmed:
            self.registry_lost()
        elif self._falling is None:
            self._falling = self._clock.callLater(self.grace, self._fall)
        if news or dropped:
            self._changes.happened()
        return RowChanges(tuple(news), tuple(dropped))

    def _meet(self, revision: Revision) -> None:
        if revision.epoch != self.registry.epoch:
            self.rows.unconfirmed = self.rows.ids()
            # The grace begins again, from when this registry is heard.
            self.registry_lost()

    def _fall(self) -> None:
        self._falling = None
        dropped = tuple(id for id in list(self.rows.unconfirmed) if self.rows.drop(id))
        self._log.warn(
            "{count} rows fell: the registry was started anew and nobody has confirmed them", count=len(dropped)
        )
        self._changes.happened()
        self.fallen(RowChanges((), dropped))

    def _route(self, key: RouteKey, new: ReadyRoute | None) -> None:
        old = self.hosts.routes.get(key)
        if new is not None:
            self.hosts.put(new)
        elif old is not None:
            self.hosts.remove(key)
            self._tallies.forget(key)
        if old is not None:
            old.discard()

    def _depart(self, leaving: frozenset[str], retiring: frozenset[ReleaseKey]) -> None:
        ids, releases = self.leaving ^ leaving, self.retiring ^ retiring
        if not ids and not releases:
            return
        self.leaving, self.retiring = leaving, retiring
        for id in ids:
            if id in self.rows.targets:
                self._place(self.rows.targets[id])
        for key in releases:
            for pool in self.pools.of_release(key.app, key.release):
                for target in list(pool):
                    self._place(target)
        self.accounts.open(leaving, retiring, self.rows.targets, self.pools)

    def _place(self, target: Target) -> None:
        """In its pool or out of it, as hub and registry say."""
        if target.id in self.leaving or ReleaseKey(target.app, target.release) in self.retiring:
            fresh = not target.gone
            self.pools.leave(target, True)
            if fresh:
                self.closed(target)
        else:
            self.pools.enter(target)

    def _came(self, target: Target) -> None:
        self._place(target)

    def _went(self, target: Target) -> None:
        self.accounts.linger(target)
        fresh = not target.gone
        self.pools.leave(target, False)
        if fresh:
            self.closed(target)

    def _account(self, target: Target, by: int) -> None:
        """A request began or ended at a target that is out."""
        there = self.rows.targets.get(target.id) is target
        if self.accounts.change(target, by, there):
            for quiet in self.on_quiet:
                quiet()
