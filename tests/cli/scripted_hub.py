"""A hub that says what a test wants, on the real wire: over iosim with a Clock, or on a socket."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import IOPump, connect
from zope.interface import implementer

from deployd.net.conversation import Conversation, responder
from deployd.net.secret import Secret
from deployd.net.server import ServerFactory, ServerTerms
from deployd.processes.log_page import pack_from
from deployd.processes.records import STDERR, Record
from deployd.testing.transports import transport
from deployd.wire import control

SECRET_TEXT = "beep:boop/%@ 1"
SECRET = Secret(SECRET_TEXT)
CONNECTION_LOST = Failure(ConnectionLost())
COMMIT = "74336bc1db98478e02e69f59e7100895be207389"


def drone(name: str, state: str, reason: str = "", tail: str = "") -> dict[str, Any]:
    return {"drone": name, "state": state, "reason": reason, "tail": tail}


def instance(name: str, state: str, drone: str = "d1", **more: Any) -> dict[str, Any]:
    row = {"id": name, "app": "webapp", "release": "v1", "commit": COMMIT, "role": "http", "drone": drone}
    return row | {"state": state, "port": 0, "pid": 0, "restarts": 0, "reason": "", "generation": 0} | more


@define
class ScriptedHub:
    """What the hub knows; ``change`` alters it as events would. ``errors`` maps a Command's name to what it raises.

    ``printed`` is what instances have printed, by id.
    """

    clock: IReactorTime
    revision: int = 1
    state: str = "deploying"
    reason: str = ""
    changed: bool = True
    drones: list[dict[str, Any]] = field(factory=list)
    lists: dict[str, list[dict[str, Any]]] = field(factory=dict)
    errors: dict[str, Exception] = field(factory=dict)
    facts: dict[str, str] = field(factory=lambda: {"http": "127.0.0.1:6002", "registry": "127.0.0.1:6000"})
    asked: list[tuple[str, dict[str, Any]]] = field(factory=list)
    page: int = 1
    left: float = 0.0
    printed: dict[str, bytes] = field(factory=dict)
    routers: int = 0
    held_up: list[dict[str, str]] = field(factory=list)
    waiting: list[Deferred[None]] = field(factory=list)

    def change(self, **values: Any) -> None:
        for name, value in values.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        self.revision += 1
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def note(self, name: str, /, **arguments: Any) -> None:
        self.asked.append((name, arguments))
        if name in self.errors:
            raise self.errors[name]

    def asked_for(self, name: str) -> list[dict[str, Any]]:
        return [arguments for asked, arguments in self.asked if asked == name]

    def paged(self, rows: list[dict[str, Any]], after: str) -> tuple[list[dict[str, Any]], str]:
        start = int(after or 0)
        end = start + self.page
        return rows[start:end], str(end) if end < len(rows) else ""

    def terms(self, secret: Secret | None = SECRET) -> ServerTerms:
        return ServerTerms(
            kind="hub",
            secret=secret,
            conversations={"deploy": lambda peer, session: HubSession(self)},
            facts=lambda: self.facts,
        )


class HubSession(Conversation):
    def __init__(self, hub: ScriptedHub) -> None:
        self.hub = hub
        self.waiting: list[Deferred[None]] = []

    def closed(self) -> None:
        for waiter in self.waiting:
            if not waiter.called:
                self.hub.waiting.remove(waiter)
                waiter.callback(None)

    @responder(control.Deploy)
    def deploy(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("Deploy", **arguments)
        return {"commit": COMMIT, "release": "v1", "changed": self.hub.changed}

    @responder(control.DeployStatus)
    def deploy_status(self, app: str, release: str, after: str) -> dict[str, Any]:
        self.hub.note("DeployStatus", app=app, release=release)
        hub = self.hub
        drones, further = hub.paged(hub.drones, after)
        return {
            "state": hub.state,
            "reason": hub.reason,
            "need": "all",
            "drones": drones,
            "next": further,
            "left": hub.left,
            "revision": hub.revision,
        }

    @responder(control.AwaitChange)
    async def await_change(self, revision: int, wait: float) -> dict[str, Any]:
        if revision >= self.hub.revision:
            waiter: Deferred[None] = Deferred()
            waiter.addTimeout(wait, self.hub.clock, lambda result, _: None)
            self.hub.waiting.append(waiter)
            self.waiting.append(waiter)
            await waiter
        return {"revision": self.hub.revision}

    @responder(control.List)
    def list_rows(self, kind: str, after: str, **filters: str) -> dict[str, Any]:
        self.hub.note("List", kind=kind, **filters)
        rows, further = self.hub.paged(self.hub.lists.get(kind, []), after)
        return {"rows": rows, "next": further, "revision": self.hub.revision}

    @responder(control.Events)
    def events(self, app: str, newest: int, above: int) -> dict[str, Any]:
        self.hub.note("Events", app=app, newest=newest, above=above)
        rows = [row for row in self.hub.lists.get("events", []) if row["number"] > above][-newest:]
        page = rows[: self.hub.page]
        number = page[-1]["number"] if page else above
        return {"rows": page, "number": number, "more": len(page) < len(rows), "revision": self.hub.revision}

    @responder(control.Stop)
    def stop(self, ids: Any) -> dict[str, Any]:
        self.hub.note("Stop", ids=ids)
        return {}

    @responder(control.Restart)
    def restart(self, ids: Any) -> dict[str, Any]:
        self.hub.note("Restart", ids=ids)
        return {"generations": dict.fromkeys(ids, 1)}

    @responder(control.Spawn)
    def spawn(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("Spawn", **arguments)
        ids = {row["drone"]: row["id"] for row in self.hub.lists["instances"]}
        return {"commit": COMMIT, "release": "v1", "ids": ids}

    @responder(control.Logs)
    def logs(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("Logs", **arguments)
        printed = self.hub.printed
        sources = [{"id": id} | dict.fromkeys(("app", "release", "commit", "role"), "") for id in printed]
        data = b"".join(
            pack_from(position, Record(position + 1, STDERR, text)) for position, text in enumerate(printed.values())
        )
        return {"data": data, "sources": sources, "next": len(printed), "more": False}

    @responder(control.Retire)
    def retire(self, app: str, commit: str) -> dict[str, Any]:
        self.hub.note("Retire", app=app, commit=commit)
        return {"commit": COMMIT, "release": "v1"}

    @responder(control.RetireUnused)
    def retire_unused(self, app: str, dry_run: bool, after: str) -> dict[str, Any]:
        self.hub.note("RetireUnused", app=app, dry_run=dry_run)
        rows, further = self.hub.paged(self.hub.lists.get("unused", []), after)
        return {"rows": rows, "next": further}

    @responder(control.Pin)
    def pin(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("Pin", **arguments)
        return {"commit": COMMIT, "release": "v1"}

    @responder(control.SetPolicy)
    def set_policy(self, app: str, values: Any) -> dict[str, Any]:
        self.hub.note("SetPolicy", app=app, values=values)
        return {"values": {"keep": "1", "keep-for": "0s", "drain": "30s"} | values}

    @responder(control.DrainDrone)
    def drain_drone(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("DrainDrone", **arguments)
        return {}

    @responder(control.SetRoute)
    def set_route(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("SetRoute", **arguments)
        return {"number": 7}

    @responder(control.RemoveRoute)
    def remove_route(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("RemoveRoute", **arguments)
        return {}

    @responder(control.RollBack)
    def roll_back(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("RollBack", **arguments)
        shares = [{"release": "v1", "commit": COMMIT, "weight": 1}]
        return {"number": 8, "back_to": 3, "setting": {"app": "webapp", "role": "http", "shares": shares}}

    @responder(control.Promote)
    def promote(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("Promote", **arguments)
        return {"number": 9}

    @responder(control.Steer)
    def steer(self, **arguments: Any) -> dict[str, Any]:
        self.hub.note("Steer", **arguments)
        return {"number": 10}

    @responder(control.RouteStatus)
    def route_status(self) -> dict[str, Any]:
        self.hub.note("RouteStatus")
        hub = self.hub
        return {"routers": hub.routers, "waiting": hub.held_up, "revision": hub.revision}

    @responder(control.ForgetDrone)
    def forget_drone(self, name: str) -> dict[str, Any]:
        self.hub.note("ForgetDrone", name=name)
        return {}

    @responder(control.Status)
    def status(self) -> dict[str, Any]:
        self.hub.note("Status")
        return {"document": {"hub": {"version": "0.1.0"}, "drones": 2}}


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Leads to a scripted hub over iosim; ``up`` False refuses, ``cut`` loses every connection."""

    def __init__(self, clock: Clock, hub: ScriptedHub, secret: Secret | None = SECRET) -> None:
        self._clock = clock
        self._factory = ServerFactory(clock, hub.terms(secret))
        self._pumps: list[IOPump] = []
        self.up = True
        self.dialled = 0

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.dialled += 1
        if not self.up:
            return fail(ConnectionRefusedError("refused"))
        server, client = self._factory.buildProtocol(None), protocolFactory.buildProtocol(None)
        self._pumps.append(connect(server, transport(server, True), client, transport(client, False)))
        return succeed(client)

    def cut(self) -> None:
        for pump in self._pumps:
            pump.serverIO.loseConnection()
        self.flush()
        self._pumps = []

    def drop(self) -> None:
        """Lose every connection with what is under way to the client."""
        for pump in self._pumps:
            pump.serverIO.getOutBuffer()
            pump.client.connectionLost(CONNECTION_LOST)
        self._pumps = []

    def flush(self) -> None:
        while any(pump.pump() for pump in list(self._pumps)):
            pass

    def advance(self, seconds: float, step: float = 0.1) -> None:
        passed = 0.0
        while passed < seconds:
            self._clock.advance(step)
            self.flush()
            passed += step
