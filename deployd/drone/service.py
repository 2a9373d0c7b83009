"""A drone: what it does with the hub, as long as the hub is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from deployd.drone.checkouts import Source
from deployd.drone.instances import Instances
from deployd.drone.log_following import LogFollowing
from deployd.drone.port_table import PortTable
from deployd.drone.prefetching import Prefetching
from deployd.drone.reporting import Reporting
from deployd.drone.responders import HubConversation
from deployd.drone.runs import Runs
from deployd.drone.surroundings import Joined, Surroundings
from deployd.errors import (
    DeploydError,
    IncompatibleVersion,
    NameInUse,
    PermissionRefused,
    SecretRefused,
    Unreachable,
    UsageError,
)
from deployd.model.drone import DroneDescription
from deployd.model.instance import AssignedInstance
from deployd.net.addresses import host_of
from deployd.net.client import Dial
from deployd.net.link import Link
from deployd.net.peer import Peer
from deployd.wire.fleet import FetchConfig, FetchToken, Join

# What a stranger to this hub will hear again however often it asks.
_FOR_GOOD = (IncompatibleVersion, NameInUse, PermissionRefused, SecretRefused, UsageError)


@frozen
class Crew:
    """The parts of a drone."""

    instances: Instances
    prefetching: Prefetching
    surroundings: Surroundings
    table: PortTable
    reporting: Reporting
    logs: LogFollowing
    runs: Runs


@frozen
class Events:
    """What the daemon hears: each acceptance by the hub, and a refusal that it should end with."""

    accepted: Callable[[], None]
    refused: Callable[[DeploydError], None]


class Drone(MultiService):
    """``known`` says whether a hub has accepted this drone before.

    Note [Once accepted]
    ~~~~~~~~~~~~~~~~~~~~
    A drone that no hub has ever accepted ends with the refusal: somebody has mistyped something and is watching. Later
    nobody may be watching, and apps run: then a refusal is logged, the apps stay, and the drone tries on.
    """

    _log = Logger()

    def __init__(self, description: DroneDescription, advertise: str, crew: Crew, events: Events, known: bool) -> None:
        super().__init__()
        self._description = description
        self._advertise = advertise
        self._crew = crew
        self._events = events
        self._known = known
        self._peer: Peer | None = None
        self._said = ""
        self._dialled = ""

    def dial(self, dial: Dial) -> None:
        """Keep a session with the hub up, from the service's start on."""
        self._dialled = dial.shown
        crew = self._crew

        def conversation(_: Peer) -> HubConversation:
            return HubConversation(crew.instances, crew.prefetching, crew.logs, crew.runs)

        Link(dial, self._attach, conversation, self._failed).setServiceParent(self)

    def source(self, app: str) -> Deferred[Source]:
        """Where commits of ``app`` come from, with a token that the hub gives for it."""
        return Deferred.fromCoroutine(self._source(app))

    async def _source(self, app: str) -> Source:
        if self._peer is None:
            raise Unreachable(f"the hub is away, so {app} cannot be fetched")
        answer = await self._peer.call(FetchToken, app=app)
        return Source(self._crew.surroundings.git_url(app), answer["token"].decode())

    def config(self, line: AssignedInstance) -> Deferred[bytes]:
        """The values that the hub has for a line, a JSON object; fails with a DeploydError."""
        return Deferred.fromCoroutine(self._config(line))

    async def _config(self, line: AssignedInstance) -> bytes:
        if self._peer is None:
            raise Unreachable(f"the hub is away, so the config of {line.app} cannot be fetched")
        asked: dict[str, Any] = {"app": line.app, "release": line.release, "commit": line.commit, "extra": line.extra}
        values: bytes = (await self._peer.call(FetchConfig, **asked))["values"]
        return values

    async def _attach(self, peer: Peer) -> None:
        answer = await peer.call(Join, description=self._description, advertise=self._advertise)
        joined = Joined(**answer).seen_from(host_of(self._dialled) or peer.peer_host())
        self._peer = peer
        peer.when_closed().addCallback(lambda _: self._lost(peer))
        self._crew.surroundings.joined(joined)
        await self._crew.instances.meet(joined.epoch)
        await self._crew.reporting.attach(peer)
        self._log.info("joined {hub} as {name}", hub=self._dialled, name=self._description.name)
        self._known, self._said = True, ""
        self._events.accepted()

    def _lost(self, peer: Peer) -> None:
        if self._peer is peer:
            self._peer = None

    def _failed(self, error: DeploydError) -> None:
        if not self._known and isinstance(error, _FOR_GOOD):
            self._events.refused(error)
        elif str(error) != self._said:
            self._said = str(error)
            self._log.warn("{error}; trying on", error=error)
