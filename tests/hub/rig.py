"""A hub on a Clock with a store and repositories in memory; drones and people talk to it over iosim."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.test.iosim import connect

from deployd.daemon.sealing import Seal
from deployd.hub.control_responders import ControlConversation
from deployd.hub.fleet_responders import DroneConversation
from deployd.hub.route_responders import RouterConversation
from deployd.hub.service import Hub, Means
from deployd.model.drone import DroneDescription
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.model.revision import Revision
from deployd.net.client import ClientPeer, Dial
from deployd.net.conversation import Conversation, responder
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.server import ServerFactory, ServerTerms
from deployd.storage.memory import MemoryStore
from deployd.testing.repositories import FakeRepositories
from deployd.testing.transports import transport
from deployd.wire.control import Deploy, DeployStatus, ForgetDrone, List, SetRoute
from deployd.wire.fleet import Assign, Join, Prefetch, Report
from deployd.wire.paging import Assembly, pages
from tests.hub.asking import done
from tests.hub.fake_router import FakeRouter
from tests.net.links import SECRET

KEYS = (b"a" * 43 + b"=",)
HEALTHY = {Goal.RUN: State.READY, Goal.DRAIN: State.DRAINING, Goal.STOP: State.STOPPED}


class Cluster:
    """One hub after the other on the same store; ``settle`` lets everything that is due happen."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.repositories = FakeRepositories()
        self.keys = lambda make: KEYS
        self.drones: list[FakeDrone] = []
        self.start()

    def start(self) -> None:
        """A new hub reads the store."""
        self.pumps: list[Any] = []
        self.hub = hub = Hub(
            Means(
                clock=self.clock,
                store=self.store,
                repositories=self.repositories,
                in_thread=maybeDeferred,
                seal=Seal(lambda make: self.keys(make)),
                wall=self.clock.seconds,
                secret=SECRET,
            )
        )
        self.factory = ServerFactory(
            self.clock,
            ServerTerms(
                kind="hub",
                secret=SECRET,
                conversations={
                    "deploy": lambda peer, session: ControlConversation(hub, session),
                    "drone": lambda peer, session: DroneConversation(hub, peer, session),
                    "route": lambda peer, session: RouterConversation(hub, peer, session),
                },
            ),
        )
        done(Deferred.fromCoroutine(hub.open()), self.settle)
        hub.addresses.update(http="192.0.2.1:6002", registry="192.0.2.1:6000", amp="192.0.2.1:6001")
        self.person = Person(self)

    def restart(self) -> None:
        """As kill -9 and a start: nothing is told to anybody."""
        for peer in list(self.factory.peers):
            peer.transport.abortConnection()
        self.settle()
        done(Deferred.fromCoroutine(self.hub.close()), self.settle)
        self.start()

    def restore(self, backup: MemoryStore) -> None:
        """A kill, and a start on a copy of the store that was made earlier."""
        self.store = backup
        self.restart()

    def settle(self) -> None:
        for _ in range(40):
            self.clock.advance(0)
            for pump in self.pumps:
                pump.flush()

    def pass_time(self, seconds: float) -> None:
        """In steps short enough for keepalives."""
        while seconds > 0:
            self.clock.advance(min(seconds, 5))
            self.settle()
            seconds -= 5

    def connect(self, purpose: str, identity: Identity | None = None, conversation: Any = None) -> ClientPeer:
        """A session through a real handshake."""
        server = self.factory.buildProtocol(None)
        assert server is not None
        client = ClientPeer(self.clock)
        self.pumps.append(connect(server, transport(server, True), client, transport(client, False)))
        dial = Dial(self.clock, None, "hub", Credentials("test 1", purpose, SECRET, identity))  # type: ignore[arg-type]
        done(Deferred.fromCoroutine(client.shake_hands(dial, conversation or (lambda _: Conversation()))), self.settle)
        return client

    def drone(self, name: str = "d1", joins: bool = True, **description: Any) -> FakeDrone:
        """A healthy drone with a command of its own, unless ``description`` says otherwise."""
        drone = FakeDrone(self, name, {"command": ("serve",)} | description)
        self.drones.append(drone)
        if joins:
            drone.join()
        return drone

    def router(self, name: str = "r1", enters: bool = True) -> FakeRouter:
        """A router that follows what it is told at once, with no request under way."""
        router = FakeRouter(self, name)
        if enters:
            router.enter()
        return router

    # What people do.

    def push(self, app: str = "webapp", files: dict[str, bytes] | None = None, **more: Any) -> str:
        return self.repositories.push(app, files, **more)

    def deploy(self, commit: str = "master", app: str = "webapp", **more: Any) -> dict[str, Any]:
        asked = {"drones": [], "where": [], "need": "all", "timeout": 100.0} | more
        return self.person.ask(Deploy, app=app, commit=commit, **asked)

    def route(self, *shares: str, host: str = "shop.example", **more: Any) -> int:
        """``route set HOST webapp:http SHARE...``, each ``v1`` or ``v1=90``; its number."""
        pairs = [[commit, int(weight or 1)] for commit, _, weight in (share.partition("=") for share in shares)]
        asked = {"path": "/", "app": "webapp", "role": "http", "preview": False, "sticky": False, "https": False}
        asked |= {"force": False} | more
        return int(self.person.ask(SetRoute, host=host, shares=pairs, **asked)["number"])

    def forget(self, drone: str) -> None:
        self.person.ask(ForgetDrone, name=drone)

    def status(self, release: str = "v1", app: str = "webapp") -> dict[str, Any]:
        return self.person.ask(DeployStatus, app=app, release=release, after="")

    def states(self, release: str = "v1", app: str = "webapp") -> tuple[str, dict[str, str]]:
        """The release's state and each drone's."""
        status = self.status(release, app)
        return status["state"], {row["drone"]: row["state"] for row in status["drones"]}

    def rows(self, kind: str, **filters: str) -> list[dict[str, Any]]:
        asked = {"app": "", "commit": "", "drone": "", "after": ""} | filters
        found: list[dict[str, Any]] = []
        while True:
            page = self.person.ask(List, kind=kind, **asked)
            found += page["rows"]
            if not page["next"]:
                return found
            asked["after"] = page["next"]

    def releases(self, app: str = "") -> dict[str, str]:
        return {row["release"]: row["state"] for row in self.rows("releases", app=app)}

    def events(self) -> list[str]:
        return [event.what for event in done(self.store.events(100), self.settle)]


class Person:
    """deployctl."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.peer = cluster.connect("deploy")

    def ask(self, command: Any, **arguments: Any) -> Any:
        """The answer, or its error raised."""
        return done(self.peer.ask(command, arguments, 60), self._cluster.settle)


class FakeDrone(Conversation):
    """Does at once what it is told. ``trouble`` says for a role what it reports of it instead of READY or DONE.

    ``refuses`` makes it fail to save assignments. ``told`` has every assignment that it took, ``seen`` what it has.
    """

    def __init__(self, cluster: Cluster, name: str, description: dict[str, Any]) -> None:
        super().__init__()
        self.cluster = cluster
        self.identity = Identity.create()
        self.description = DroneDescription(name=name, owner=self.identity.owner, **description)
        self.trouble: dict[str, dict[str, Any]] = {}
        self.refuses: Exception | None = None
        self.follows = True
        self.told: list[dict[str, AssignedInstance]] = []
        self.prefetched: list[tuple[str, str, str]] = []
        self.seen: dict[str, ObservedInstance] = {}
        self.revision = Revision("", 0)
        self.joined: dict[str, Any] = {}
        self._assembly: Assembly[AssignedInstance] = Assembly()

    @property
    def lines(self) -> dict[str, Goal]:
        """The newest assignment: goals by role and release."""
        return {f"{line.role}.{line.release}": line.goal for line in self.told[-1].values()} if self.told else {}

    @property
    def ids(self) -> dict[str, str]:
        return {f"{one.role}.{one.release}": one.id for one in self.seen.values()}

    def join(self, advertise: str = "", reports: bool = True) -> None:
        self._assembly = Assembly()
        self.peer = self.cluster.connect("drone", self.identity, lambda _: self)
        self.joined = self.ask(Join, description=self.description, advertise=advertise)
        if self.joined["epoch"] != self.revision.epoch:
            self.revision = Revision(self.joined["epoch"], 0)
            self.seen = {id: evolve(one, state=State.ORPHAN) for id, one in self.seen.items()}
        if reports:
            self.report()

    def leave(self) -> None:
        """The connection is cut; what runs runs on."""
        self.peer.transport.abortConnection()
        self.cluster.settle()

    def ask(self, command: Any, **arguments: Any) -> Any:
        return done(self.peer.ask(command, arguments, 10), self.cluster.settle)

    def report(self, *observed: ObservedInstance) -> None:
        """Report what is seen, or ``observed`` instead."""
        parts = pages(observed or tuple(self.seen.values()))
        for part, page in enumerate(parts):
            self.ask(Report, assignment=self.revision, part=part, parts=len(parts), instances=page)

    def change(self, role: str, **changes: Any) -> None:
        """What it sees of a role changes, and it says so."""
        self.seen = {id: evolve(one, **changes) if one.role == role else one for id, one in self.seen.items()}
        self.report()

    @responder(Assign)
    def assign(self, revision: Revision, part: int, parts: int, instances: tuple[AssignedInstance, ...]) -> Any:
        if self.refuses is not None:
            raise self.refuses
        whole = self._assembly.add(part, parts, instances)
        if whole is not None:
            self.told.append({line.id: line for line in whole})
            self.revision = revision
            if self.follows:
                self._follow()
        return {}

    @responder(Prefetch)
    def prefetch(self, app: str, ref: str, commit: str) -> dict[str, Any]:
        self.prefetched.append((app, ref, commit))
        return {}

    def _follow(self) -> None:
        orphans = {id: one for id, one in self.seen.items() if one.state is State.ORPHAN}
        self.seen = orphans | {line.id: self._observed(line) for line in self.told[-1].values()}
        self.cluster.clock.callLater(0, self._report_later)

    def _report_later(self) -> None:
        if not self.peer.is_closed:
            for part, page in enumerate(found := pages(tuple(self.seen.values()))):
                self.peer.call(Report, assignment=self.revision, part=part, parts=len(found), instances=page)

    def _observed(self, line: AssignedInstance) -> ObservedInstance:
        state = State.DONE if line.once and line.goal is Goal.RUN else HEALTHY[line.goal]
        seen = ObservedInstance(
            line.id, line.app, line.release, line.commit, line.role, state, "192.0.2.7", 20000, 1, line.generation
        )
        if line.goal is Goal.DRAIN:
            return evolve(seen, deregistered=Revision("registry", 1))
        return evolve(seen, **self.trouble.get(line.role, {})) if line.goal is Goal.RUN else seen
