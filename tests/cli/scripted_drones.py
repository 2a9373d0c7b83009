"""A hub whose drones have logs and run commands as a test wants, on the real wire over iosim."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from deployd.cli.cluster import Cluster
from deployd.cli.settings import Settings
from deployd.errors import DroneAway, UnknownApp, UnknownInstance
from deployd.net.conversation import responder
from deployd.net.server import ServerTerms
from deployd.processes.log_page import pack_from
from deployd.processes.records import STDOUT, Record
from deployd.wire.control import Exec, ExecRead, ExecWrite, Logs, LogSources
from deployd.wire.documents import load
from tests.cli.scripted_hub import SECRET, HubSession, MemoryEndpoint, ScriptedHub

SILENCE = {"stdout": b"", "stderr": b"", "ended": False, "code": 0, "failed": ""}


@define
class FakeDrone:
    """Has ``printed`` that; tells ``page`` records at a time, none while ``stuck``; a ``chatty`` one has printed more
    whenever it is read. ``says`` is what its run says next, and then."""

    printed: list[Record] = field(factory=list)
    away: bool = False
    stuck: bool = False
    chatty: bool = False
    page: int = 2
    says: list[dict[str, Any]] = field(factory=list)
    input: bytes = b""
    input_ended: bool = False
    room: bool = True

    def print(self, stamp: int, text: str, stream: int = STDOUT) -> None:
        self.printed.append(Record(stamp, stream, text.encode()))


class TalkingHub(ScriptedHub):
    def __init__(self, clock: IReactorTime, drones: dict[str, FakeDrone]) -> None:
        super().__init__(clock)
        self.fakes = drones

    def terms(self, secret: Any = SECRET) -> ServerTerms:
        return evolve(super().terms(secret), conversations={"deploy": lambda peer, session: TalkingSession(self)})


class TalkingSession(HubSession):
    hub: TalkingHub
    over = False

    def closed(self) -> None:
        self.over = True
        super().closed()

    @responder(LogSources)
    def log_sources(self, app: str, commit: str, drone: str) -> dict[str, Any]:
        self.hub.note("LogSources", app=app, commit=commit, drone=drone)
        if app != "webapp":
            raise UnknownApp()
        names = [drone] if drone else sorted(self.hub.fakes)
        rows = [{"name": name, "connected": not self.hub.fakes[name].away} for name in names]
        return {"drones": rows, "releases": [commit] if commit else []}

    @responder(Logs)
    async def read_log(self, drone: str, after: int, newest: int, wait: float, **more: Any) -> dict[str, Any]:
        self.hub.note("Logs", drone=drone, after=after, newest=newest, wait=wait, **more)
        fake = self.hub.fakes[drone]
        if fake.stuck:
            await Deferred()
        if fake.chatty and len(fake.printed) < 1000:
            last = fake.printed[-1].stamp
            for stamp in range(last + 1, last + 1 + 2 * fake.page):
                fake.print(stamp, "more\n")
        if after < 0:
            after = fake.printed[-newest - 1].stamp if len(fake.printed) > newest else 0
        deadline = self.hub.clock.seconds() + wait
        while True:
            if fake.away:
                raise DroneAway(f"{drone} is not connected to the hub")
            found = [record for record in fake.printed if record.stamp > after]
            left = deadline - self.hub.clock.seconds()
            if found or left < 0.001 or self.over:
                break
            waiter: Deferred[None] = Deferred()
            waiter.addTimeout(left, self.hub.clock, lambda result, _: None)
            self.hub.waiting.append(waiter)
            self.waiting.append(waiter)
            await waiter
        page = found[: fake.page]
        source = {"id": f"http-{drone}", "app": "webapp", "release": "v1", "commit": "c0ffee", "role": "http"}
        return {
            "data": b"".join(pack_from(0, record) for record in page),
            "sources": [source],
            "next": page[-1].stamp if page else after,
            "more": len(found) > len(page),
        }

    @responder(Exec)
    def begin_run(self, drones: Any, every: bool, env: bytes, **more: Any) -> dict[str, Any]:
        self.hub.note("Exec", drones=drones, every=every, env=load(env), **more)
        chosen = drones or sorted(self.hub.fakes)[: None if every else 1]
        return {"release": "v1", "commit": "c0ffee", "runs": {name: f"exec-{name}" for name in chosen}}

    @responder(ExecRead)
    async def read_run(self, run: str, wait: float) -> dict[str, Any]:
        fake = self._of(run)
        if not fake.says:
            waiter: Deferred[None] = Deferred()
            waiter.addTimeout(wait, self.hub.clock, lambda result, _: None)
            self.hub.waiting.append(waiter)
            self.waiting.append(waiter)
            await waiter
        return SILENCE | (fake.says.pop(0) if fake.says else {})

    @responder(ExecWrite)
    def write_run(self, run: str, data: bytes, end: bool) -> dict[str, Any]:
        fake = self._of(run)
        self.hub.note("ExecWrite", run=run, data=data, end=end)
        fake.input += data
        fake.input_ended = fake.input_ended or end
        return {"room": fake.room}

    def _of(self, run: str) -> FakeDrone:
        fake = self.hub.fakes[run.removeprefix("exec-")]
        if fake.away:
            raise UnknownInstance("it does not run here any more")
        return fake


class TalkingBench:
    """That hub, the way to it, and a Cluster."""

    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.drones = {name: FakeDrone() for name in names}
        self.hub = TalkingHub(self.clock, self.drones)
        self.way = MemoryEndpoint(self.clock, self.hub)
        settings = Settings(hub="hubhost:6001", secret=SECRET)
        self.cluster = Cluster(self.clock, settings, 1e7, lambda reactor, text, port: (self.way, text))

    def start(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        working = Deferred.fromCoroutine(work)
        self.way.flush()
        return working

    def change(self) -> None:
        self.hub.change()
        self.way.flush()
