"""The drones: who is known, who is connected, what each is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols.amp import Command

from deployd.errors import DroneAway, NameInUse, PermissionRefused, Refused, Superseded, UnknownDrone, Unreachable
from deployd.hub.drone_session import DroneSession
from deployd.hub.ledger import NOTHING, Ledger
from deployd.hub.quieting import Quieting
from deployd.hub.traffic import NoTraffic, Traffic
from deployd.model.address import is_loopback
from deployd.model.deployd_toml import RELEASE
from deployd.model.desired import Changes, Desired, KnownDrone
from deployd.model.drone import DroneDescription
from deployd.model.instance import ObservedInstance
from deployd.model.invalid import Invalid
from deployd.model.names import app_name, drone_name, label, role_name, shown
from deployd.model.registration import host_name
from deployd.model.revision import Revision
from deployd.model.router import ReleaseKey
from deployd.model.words import check_command
from deployd.net.peer import Peer
from deployd.planning.draining import away_leaving
from deployd.planning.placement import Seen, chosen, concerns
from deployd.planning.view import View

LOOPBACK = "127.0.0.1"
MAX_WORDS = 100
MAX_SAID = 500


@frozen
class Joined:
    """A session that was accepted; ``host`` is what the drone's rows carry."""

    session: DroneSession
    host: str


class Fleet:
    """``advertise`` is the host of drones on the hub's own machine; ``changed`` hears where something changed."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        ledger: Ledger,
        advertise: str,
        changed: Callable[[str], None],
        routers: Traffic | None = None,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._advertise = advertise or LOOPBACK
        self._changed = changed
        self._sessions: dict[str, DroneSession] = {}
        self._last_seen: dict[str, Seen] = {}
        self._traffic = routers or NoTraffic()
        self._quieting = Quieting(clock, ledger, self._traffic, self._is_complete, lambda: changed(""))
        self._loud: frozenset[ReleaseKey] = frozenset()
        self._heard: set[str] = set()
        self._away: tuple[Desired, frozenset[str]] | None = None

    # Sessions.

    async def join(self, peer: Peer, owner: str, description: DroneDescription, advertise: str, who: str) -> Joined:
        """Accept a drone and remember it. Raise NameInUse, PermissionRefused, Invalid, Refused."""
        check_description(description)
        if not owner or description.owner != owner:
            raise PermissionRefused("a drone has to prove that it is the owner it says it is")
        drone = KnownDrone(description, self._host(peer.peer_host(), advertise))

        await self._ledger.change(lambda desired: self._joining(desired, drone, who))
        if peer.is_closed:
            raise Superseded("the connection was lost")
        for session in [known for known in self._sessions.values() if known.drone.owner == owner]:
            self.leave(session)
            session.peer.drop(f"a newer session of {session.drone.name}")
        name = drone.name
        epoch, traffic = self._ledger.epoch, self._traffic
        session = DroneSession(self._clock, peer, drone, epoch, lambda: self._changed(name), traffic)
        # What it had when it went is true until it says what it has.
        self._sessions[name] = session
        self._unhear(name)
        self._log.info("{drone} has joined from {peer}", drone=name, peer=peer.peer_name())
        self._changed(name)
        return Joined(session, drone.address)

    async def check(self, session: DroneSession, reported: Revision) -> None:
        """Let every drone join again if this one has met a later state of the hub. Raise Refused."""
        await self._ledger.check(reported, session.drone.owner, session.drone.name)
        if session.epoch == self._ledger.epoch:
            return
        for old in [known for known in self._sessions.values() if known.epoch != self._ledger.epoch]:
            self.leave(old)
            old.peer.drop("the hub was restored; all drones have to join again")
        raise Refused("the hub was restored; join again")

    def leave(self, session: DroneSession) -> None:
        """This session is over; the drone is away unless it has a newer one."""
        session.close()
        name = session.drone.name
        if self._sessions.get(name) is session:
            del self._sessions[name]
            self._unhear(name)
            if name in self._ledger.desired.drones and session.has_reported:
                self._last_seen[name] = session.seen
            self._log.info("{drone} is away", drone=name)
            self._changed(name)

    def close(self) -> None:
        self._quieting.close()
        for session in list(self._sessions.values()):
            self.leave(session)

    # What is seen of them.

    def is_connected(self, name: str) -> bool:
        return name in self._sessions

    @property
    def connected(self) -> Collection[str]:
        return self._sessions.keys()

    def seen(self, name: str) -> Seen:
        """The last report of a drone, also of one that is away (since the hub was started)."""
        session = self._sessions.get(name)
        return session.seen if session is not None else self._last_seen.get(name, {})

    def heard(self, name: str) -> Seen | None:
        """The same, also between a drone's return and its first report; None: this hub has heard nothing of it yet."""
        session = self._sessions.get(name)
        has_said = session is not None and session.has_reported
        return session.seen if session is not None and has_said else self._last_seen.get(name)

    def is_expected(self, name: str) -> bool:
        """Whether a drone is likely to say soon what it has, as the hub has just been started."""
        return self.heard(name) is None and self._quieting.begins

    def instances(self) -> Iterator[ObservedInstance]:
        """Everything that runs or will, of all drones as they were seen last."""
        for name in self._sessions.keys() | self._last_seen.keys():
            yield from (one for one in self.seen(name).values() if not one.state.over)

    def view(self, name: str) -> View:
        session = self._sessions.get(name)
        return session.view() if session is not None else View()

    def views(self) -> dict[str, View]:
        return {name: session.view() for name, session in self._sessions.items()}

    def is_down(self, app: str, release: str) -> bool:
        """Whether no connected drone has anything of a release left, as far as they have been heard."""
        if ReleaseKey(app, release) in self._loud or self._quieting.waits():
            return False
        return all(
            session.current and not any(_is_left(one, app, release) for one in session.seen.values())
            for session in self._sessions.values()
        )

    # What they are told.

    def plan(self, names: Collection[str] | None) -> None:
        """Assign anew, to all or to those named."""
        loud = self._quieting.loud()
        if loud != self._loud:
            self._loud, names = loud, None
        for name in self._sessions.keys() if names is None else names:
            session = self._sessions.get(name)
            if session is not None:
                session.plan(self._ledger.desired, partial(self._ledger.number, session.drone.owner), loud)
                if session.has_reported and name not in self._heard:
                    self._last_seen.pop(name, None)
                    self._heard.add(name)
                    self._away = None

    @property
    def draining(self) -> tuple[str, ...]:
        """The drones where something waits for requests to end: planned anew when a router stands elsewhere."""
        return tuple(name for name, session in self._sessions.items() if session.drains)

    @property
    def leaving(self) -> frozenset[str]:
        """The ids that get no new requests: each from when its drone is told so, or will be when it returns."""
        told = [session.leaving for session in self._sessions.values() if session.leaving]
        return self._leaving_away().union(*told)

    def _leaving_away(self) -> frozenset[str]:
        """As ``leaving``, of the drones that have not reported to this hub since they came or went."""
        desired = self._ledger.desired
        if self._away is None or self._away[0] is not desired:
            away = [drone for drone in desired.drones.values() if drone.name not in self._heard]
            reports = [self._sessions[name].seen for name in self._heard]
            self._away = desired, away_leaving(desired, away, self._last_seen, reports) if away else frozenset()
        return self._away[1]

    def prefetch(self, app: str, ref: str, commit: str) -> None:
        """Tell the drones that may soon have to run it of a push."""
        desired = self._ledger.desired
        releases = [release for release in desired.releases_of(app) if release.state.wanted]
        likely = {drone.name for release in releases for drone in chosen(release, desired.drones.values())}
        for name, session in self._sessions.items():
            if concerns(app, session.drone.description) and (not releases or name in likely):
                session.prefetch(app, ref, commit)

    async def ask(self, name: str, command: type[Command], arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Ask one drone. Raise UnknownDrone, DroneAway, and what ``command`` declares."""
        session = self._sessions.get(name)
        if session is None:
            if name not in self._ledger.desired.drones:
                raise unknown_drone(name)
            raise DroneAway(f"{name} is not connected to the hub")
        try:
            answer: dict[str, Any] = await session.peer.ask(command, arguments, timeout)
        except Unreachable as error:
            raise DroneAway(f"{name} does not answer the hub: {error}") from error
        return answer

    async def forget(self, name: str, who: str) -> None:
        """Drop a drone that will not return. Raise UnknownDrone, Refused."""

        def decide(desired: Desired) -> Changes:
            if name not in desired.drones:
                raise unknown_drone(name)
            if name in self._sessions:
                raise Refused(f"{name} is connected; stop it first, then forget it")
            orphans = [id for id in self._last_seen.get(name, {}) if id in desired.orders and desired.orders[id].orphan]
            event = self._ledger.event("drone forgotten", who, detail=name)
            return Changes(forgotten=(name,), dropped=tuple(orphans), events=(event,))

        await self._ledger.change(decide)
        self._last_seen.pop(name, None)

    def _is_complete(self) -> bool:
        return self._heard >= self._ledger.desired.drones.keys()

    def _unhear(self, name: str) -> None:
        self._heard.discard(name)
        self._away = None

    def _joining(self, desired: Desired, drone: KnownDrone, who: str) -> Changes:
        known = desired.drones.get(drone.name)
        if known is not None and known.owner != drone.owner:
            raise NameInUse(
                f"another drone is called {drone.name}; give --name, or `deployctl drones --forget {drone.name}` if it"
                " will not return"
            )
        # What is emptied stays so, also under a new name.
        draining = any(old.draining for old in desired.drones.values() if old.owner == drone.owner)
        drone = evolve(drone, draining=draining)
        if known == drone:
            return NOTHING
        renamed = tuple(
            old.name for old in desired.drones.values() if old.owner == drone.owner and old.name != drone.name
        )
        what = "drone joined" if known is None else "drone changed"
        return Changes(drones=(drone,), forgotten=renamed, events=(self._ledger.event(what, who, detail=drone.name),))

    def _host(self, peer: str, advertise: str) -> str:
        """The host of the drone's rows: its own word, else where the hub sees it."""
        if advertise:
            return host_name(advertise)
        # A dual-stack port shows IPv4 peers as ::ffff:192.0.2.1.
        host = peer.removeprefix("::ffff:") if "." in peer else peer
        return self._advertise if not host or is_loopback(host) else host


def check_description(description: DroneDescription) -> None:
    """Raise Invalid unless every word in it can be what it should be."""
    drone_name(description.name)
    role_name(description.role)
    if description.command and description.role == RELEASE:
        raise Invalid("--role release: that runs once per release, as the commit says it; choose another one")
    for pair in description.labels.items():
        label("=".join(pair))
    for role in description.roles:
        role_name(role)
    for app in description.apps:
        app_name(app)
    enforces = ", ".join(description.enforces)
    if len(enforces) > MAX_SAID or not enforces.isprintable():
        raise Invalid(f"{shown(enforces)} are no limits that a drone can enforce")
    if max(len(description.labels), len(description.roles), len(description.apps)) > MAX_WORDS:
        raise Invalid(f"a drone has at most {MAX_WORDS} labels, roles and apps each")
    check_command(description.command, "the command")


def unknown_drone(name: str) -> UnknownDrone:
    return UnknownDrone(f"there is no drone {shown(name)}; `deployctl drones` lists them")


def _is_left(instance: ObservedInstance, app: str, release: str) -> bool:
    return (instance.app, instance.release) == (app, release) and not instance.state.over
