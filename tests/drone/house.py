"""A drone's instances without a machine: no process, no network, a directory; a Clock that the test moves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from deployd.drone.instance import Instance
from deployd.drone.journal import Entry
from deployd.drone.logs import Log
from deployd.drone.means import Means, Place
from deployd.errors import DeploydError
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.custody import Bind, Holding
from deployd.processes.ports import Ports
from deployd.processes.trees import ProcessRef
from deployd.testing.rows import FakeOwnedRows
from deployd.testing.spawner import FakeProcess, FakeSpawner

COMMIT = "c0ffee" * 6 + "abcd"
PLACE = Place("127.0.0.1", "127.0.0.1:6000", "http://127.0.0.1:6080")
PLACE_ADDRESS = IPv4Address("TCP", "127.0.0.1", 20000)


def line(
    role: str = "http", goal: Goal = Goal.RUN, generation: int = 0, release: str = "v1", port: bool = True
) -> AssignedInstance:
    id = f"{role}-{release}"
    return AssignedInstance(id, "webapp", release, COMMIT, role, ("/bin/sh", "-c", "serve"), port, goal, generation)


class FakeCheckouts:
    """Has every checkout in ``directory`` at once, unless the test holds them back or gives a ``problem``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.problem: DeploydError | None = None
        self.held: Deferred[Path] | None = None
        self.asked: list[CheckoutKey] = []
        self.there: set[CheckoutKey] = set()
        self.removed: list[CheckoutKey] = []

    def ensure(self, key: CheckoutKey) -> Deferred[Path]:
        self.asked.append(key)
        if self.held is not None:
            return self.held
        if self.problem is not None:
            return fail(self.problem)
        self.there.add(key)
        return succeed(self.directory)

    def keys(self) -> set[CheckoutKey]:
        return self.there

    async def remove(self, key: CheckoutKey) -> None:
        self.there.discard(key)
        self.removed.append(key)


@implementer(IStreamClientEndpoint)
class _Door:
    def __init__(self, open: bool) -> None:
        self._open = open

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocol = protocolFactory.buildProtocol(PLACE_ADDRESS)
        if not self._open or protocol is None:
            return fail(ConnectionRefusedError())
        protocol.makeConnection(StringTransport())
        return succeed(protocol)


class FakeCustody:
    """Every port has one socket of its app's, or what the test says in ``answers`` and ``found``, by port."""

    def __init__(self) -> None:
        self.answers: dict[int, Holding] = {}
        self.found: dict[int, frozenset[int]] = {}
        self.asked: list[int] = []
        self.looks = 0

    def holding(self, id: str, session: ProcessRef | None, bind: Bind) -> Deferred[Holding]:
        self.asked.append(bind[1])
        return succeed(self.answers.get(bind[1], Holding(frozenset({bind[1]}))))

    def sockets(self, binds: Collection[Bind]) -> Deferred[dict[Bind, frozenset[int]]]:
        self.looks += 1
        return succeed({bind: self.found.get(bind[1], frozenset({bind[1]})) for bind in binds})


class House:
    """``listening`` are the ports on which somebody answers; ``ended`` are the ids that were swept, in order, with the
    session and the grace; ``happened`` is what happened to rows and processes, in order."""

    def __init__(self, directory: Path) -> None:
        self.reactor = FakeSpawner()
        self.directory = directory
        self.checkouts = FakeCheckouts(directory)
        self.rows = FakeOwnedRows(name="d1")
        self.rows.startService()
        self.ports = Ports(20000, 29999, self.reactor, start=directory.stat().st_ino)
        self.listening: set[int] = set()
        self.custody = FakeCustody()
        self.opens_at_once = True
        self.ended: list[tuple[str, ProcessRef | int | None, float]] = []
        self.end_problem: DeploydError | None = None
        self.happened: list[str] = []
        self.saved: list[tuple[str, int, int, str, int]] = []
        self.place: Callable[[], Deferred[Place]] = lambda: succeed(PLACE)
        self.changes = 0
        self.reactor.on_start = self._started
        self.means = Means(
            reactor=self.reactor,
            drone="d1",
            to_thread=lambda function, *arguments: execute(function, *arguments),
            connect=lambda host, port: _Door(port in self.listening),
            custody=self.custody,
            end=self._end,
            ports=self.ports,
            checkouts=self.checkouts,
            rows=self,
            place=lambda: self.place(),
            save=self._save,
            output=self.log,
            jitter=lambda: 0.0,
            path="/usr/bin:/bin",
        )

    # The means that are the house itself.

    def put(self, row: Any) -> Deferred[Any]:
        self.happened.append(f"put {row.id}")
        return self.rows.put(row)

    def free(self, id: str) -> Deferred[Any]:
        self.happened.append(f"free {id}")
        return self.rows.free(id)

    def _end(self, id: str, session: ProcessRef | int | None, grace: float) -> Deferred[None]:
        self.ended.append((id, session, grace))
        if self.end_problem is not None:
            return fail(self.end_problem)
        processes = [process for process in self.reactor.running if process.env["PROCESS_ID"] == id]
        for process in processes:
            self.happened.append(f"TERM {id}")
            process.signalProcess("TERM")
        done: Deferred[None] = Deferred(lambda _: timer.cancel())
        if not any(not process.ended for process in processes):
            return succeed(None)

        def kill() -> None:
            for process in processes:
                if not process.ended:
                    process.signalProcess("KILL")
            done.callback(None)

        timer = self.reactor.callLater(grace, kill)
        return done

    def _save(self, *process: Any) -> Deferred[None]:
        self.saved.append(process)
        return succeed(None)

    def log(self, id: str) -> Log:
        return Log(self.directory / f"{id}.log")

    def _started(self, process: FakeProcess) -> None:
        self.happened.append(f"start {process.env['PROCESS_ID']}")
        if self.opens_at_once and "PORT" in process.env:
            self.listening.add(int(process.env["PORT"]))

    # What tests do with it.

    def instance(self, assigned: AssignedInstance | None = None, fresh: bool = True, **entry: Any) -> Instance:
        return Instance(self.means, Entry(assigned or line(), "epoch", 1, **entry), fresh, self._changed)

    def ready(self, assigned: AssignedInstance | None = None) -> Instance:
        """An instance that is ready."""
        instance = self.instance(assigned)
        instance.start(instance.line)
        self.reactor.advance(0 if instance.line.port else 1)
        return instance

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        for _ in range(round(seconds / step)):
            self.reactor.advance(step)

    @property
    def process(self) -> FakeProcess:
        """The newest one."""
        return self.reactor.processes[-1]

    def close(self) -> None:
        self.ports.close()

    def _changed(self, instance: Instance) -> None:
        self.changes += 1


def state_of(instance: Instance) -> str:
    seen: ObservedInstance = instance.observed()
    return seen.state.value


TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)
