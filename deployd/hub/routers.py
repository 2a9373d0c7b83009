"""The routers: which are live, what each follows, and what they have counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError, Malformed, NameInUse, PermissionRefused, Refused
from deployd.hub.ledger import HUB, NOTHING, Ledger
from deployd.hub.router_session import RouterSession
from deployd.hub.router_table import Table
from deployd.hub.tallies import Tallies
from deployd.model.desired import Changes, Desired, KnownDrone
from deployd.model.names import drone_name
from deployd.model.revision import Revision
from deployd.model.route import Route, RouteKey, Tally
from deployd.model.router import KnownRouter, ReleaseKey, Standing
from deployd.net.peer import Peer

LEASE = 10.0
MAX_ROUTERS = 1000
MAX_STANDING = 5000


@define(eq=False)
class _Member:
    """A live router: with a session, or since ``away`` without one until ``lease`` ends it."""

    id: str
    name: str
    session: RouterSession | None = None
    away: float = 0.0
    lease: IDelayedCall | None = None


class Routers:
    """``changed`` is called when a router comes, goes or stands elsewhere.

    Note [A router counts until its lease is over]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    One whose link to the hub is cut goes on sending requests where it was told last. So whoever waits for routers waits
    for it too, for LEASE seconds; by then it has come back, or serves on at its own risk. A hub that was started does
    not know yet who is still there: it gives every router that it knew the same time to return.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, ledger: Ledger, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._ledger = ledger
        self._changed = changed
        self._members: dict[str, _Member] = {}
        self._table = Table()
        self._routed = self._table.revision
        self._leaving: dict[str, Revision] = {}
        self._retiring: dict[ReleaseKey, Revision] = {}
        self._known: Mapping[str, KnownDrone] = {}
        self._arriving: dict[str, str] = {}
        self._closed = False
        self.tallies = Tallies()

    def open(self) -> None:
        """The ledger has been read."""
        for router in self._ledger.desired.routers.values():
            member = self._members[router.id] = _Member(router.id, router.name)
            self._begin_lease(member)

    def close(self) -> None:
        self._closed = True
        for member in self._members.values():
            _end_lease(member)
            if member.session is not None:
                member.session.close()

    # Whom planned stops and route changes wait for.

    def live(self) -> tuple[str, ...]:
        """The names of the routers that may be sending requests."""
        return tuple(sorted(member.name for member in self._members.values()))

    def passed(self, id: str, freed: Revision | None) -> bool:
        """Whether no live router has or begins a request to instance ``id``, which is leaving.

        Each follows a table that says so and a port table at ``freed`` (None: that is not asked).
        """
        since = self._leaving.get(id)
        return all(
            since is not None and member.session is not None and member.session.has_passed(since, id, freed)
            for member in self._members.values()
        )

    def quiet(self, release: ReleaseKey) -> bool:
        """Whether no live router has or begins a request to ``release``, which is retiring."""
        since = self._retiring.get(release)
        return all(
            since is not None and member.session is not None and member.session.is_quiet(since, release)
            for member in self._members.values()
        )

    def waiting(self) -> tuple[tuple[str, str], ...]:
        """The live routers that do not follow the routes as they are now, by name, each with a sentence why.

        What only says that more is leaving does not count: where much ends there may always be a newer table.
        """
        found = ((member.name, self._reason(member)) for member in self._members.values())
        return tuple(sorted((name, reason) for name, reason in found if reason))

    # What they are told.

    def plan(
        self,
        routes: Mapping[RouteKey, Route],
        drones: Mapping[str, KnownDrone],
        leaving: frozenset[str],
        retiring: frozenset[ReleaseKey],
    ) -> None:
        """Number the table anew if it says something else than before, and tell everybody."""
        old, epoch = self._table, self._ledger.epoch
        hosts = old.drones if drones is self._known else {drone.owner: drone.address for drone in drones.values()}
        self._known = drones
        table = Table(old.revision, routes, hosts, leaving, retiring)
        if old.revision.epoch == epoch and table.says_the_same(old):
            # What is compared next time is compared by identity.
            self._table = table
            return
        self._table = table = Table(self._ledger.number(), routes, hosts, leaving, retiring)
        # What a router said of the lost state of a restored hub says nothing of this one.
        is_same = old.revision.epoch == epoch
        if not is_same or not table.routes_the_same(old):
            self._routed = table.revision
        self._leaving = _since(self._leaving if is_same else {}, leaving, table.revision)
        self._retiring = _since(self._retiring if is_same else {}, retiring, table.revision)
        for member in self._members.values():
            if member.session is not None:
                member.session.follow(table)

    # What they say.

    async def enter(self, peer: Peer, id: str, name: str, who: str) -> RouterSession:
        """Accept a router and remember it. Raise Invalid, NameInUse, PermissionRefused, Refused."""
        drone_name(name)
        if not id:
            raise PermissionRefused("a router has to prove its identity")
        try:
            await self._ledger.change(lambda desired: self._entering(desired, KnownRouter(id, name), who))
            if peer.is_closed or self._closed:
                raise Refused("the connection was lost")
            return self._entered(peer, id, name)
        finally:
            if self._arriving.get(name) == id:
                del self._arriving[name]

    def _entered(self, peer: Peer, id: str, name: str) -> RouterSession:
        member = self._members.get(id)
        if member is None:
            member = self._members[id] = _Member(id, name)
        member.name = name
        _end_lease(member)
        old, member.session = member.session, RouterSession(self._clock, peer, id, name, self._changed)
        if old is not None:
            old.close()
            old.peer.drop(f"a newer session of router {name}")
        self._log.info("router {router} is here from {peer}", router=name, peer=peer.peer_name())
        if self._table.revision.number:
            member.session.follow(self._table)
        self._changed()
        return member.session

    def stand(self, session: RouterSession, standing: Standing) -> None:
        """Raise Malformed."""
        if max(len(standing.busy), len(standing.releases)) > MAX_STANDING:
            raise Malformed(f"more than {MAX_STANDING} instances or releases")
        session.stand(standing)

    def count(self, session: RouterSession, tallies: tuple[Tally, ...]) -> None:
        """Raise Malformed."""
        if self._is_current(session):
            self.tallies.take(session.id, tallies)

    async def depart(self, session: RouterSession, who: str) -> None:
        """It takes no requests any more: from now on nobody waits for it."""
        if self._is_current(session):
            member = self._members[session.id]
            session.close()
            await self._drop(member, "router left", who)

    def lost(self, session: RouterSession) -> None:
        """Its connection is gone."""
        session.close()
        if self._is_current(session):
            member = self._members[session.id]
            member.session = None
            self._log.info("router {router} is away", router=member.name)
            if not self._closed:
                self._begin_lease(member)
                self._changed()

    def _is_current(self, session: RouterSession) -> bool:
        member = self._members.get(session.id)
        return member is not None and member.session is session

    def _entering(self, desired: Desired, router: KnownRouter, who: str) -> Changes:
        live = {member.name: member.id for member in self._members.values()}
        if (live | self._arriving).get(router.name, router.id) != router.id:
            raise NameInUse(f"another router is called {router.name}; give --name another one")
        if len(self._members) >= MAX_ROUTERS and router.id not in self._members:
            raise Refused(f"there are {MAX_ROUTERS} routers; this hub takes no more")
        # Until it is a member: another of that name may come while this is saved.
        self._arriving[router.name] = router.id
        if desired.routers.get(router.id) == router:
            return NOTHING
        # Its leaving could not be saved.
        same_name = (known.id for known in desired.routers.values() if known.name == router.name)
        return Changes(
            routers=(router,),
            departed=tuple(id for id in same_name if id != router.id),
            events=(self._ledger.event("router joined", who, detail=router.name),),
        )

    def _reason(self, member: _Member) -> str:
        if member.session is not None:
            return "" if member.session.has_taken(self._routed) else member.session.reason()
        now = self._clock.seconds()
        left = member.lease.getTime() - now if member.lease is not None else 0.0
        return f"is away since {now - member.away:.0f} s; its lease runs for {max(left, 0.0):.0f} s more"

    def _begin_lease(self, member: _Member) -> None:
        member.away = self._clock.seconds()
        member.lease = self._clock.callLater(LEASE, self._expired, member)

    def _expired(self, member: _Member) -> None:
        member.lease = None
        saving = Deferred.fromCoroutine(self._drop(member, "router lost", HUB))
        saving.addErrback(self._unsaved, member.name)

    async def _drop(self, member: _Member, what: str, who: str) -> None:
        """Whoever waited for it goes on, also where that cannot be saved."""
        del self._members[member.id]
        _end_lease(member)
        self.tallies.forget(member.id)
        self._log.info("{what}: {router}", what=what, router=member.name)
        self._changed()
        event = self._ledger.event(what, who, detail=member.name)

        def decide(desired: Desired) -> Changes:
            is_back = member.id in self._members
            return NOTHING if is_back else Changes(departed=(member.id,), events=(event,))

        await self._ledger.change(decide)

    def _unsaved(self, failure: Failure, name: str) -> None:
        if failure.check(DeploydError):
            self._log.warn("that router {router} is lost is not saved: {error}", router=name, error=failure.value)
        else:
            self._log.failure("while dropping router {router}", failure=failure, router=name)


def _end_lease(member: _Member) -> None:
    if member.lease is not None:
        member.lease.cancel()
        member.lease = None


def _since(before: Mapping[Any, Revision], now: frozenset[Any], revision: Revision) -> dict[Any, Revision]:
    """With which revision each of ``now`` was first told."""
    return {key: before.get(key, revision) for key in now}
