"""A drone's instances without a machine: no process, no network, a directory; a Clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from signal import Signals
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock

from deployd.drone.instance import Instance
from deployd.drone.isolation import Isolation
from deployd.drone.journal import Entry
from deployd.drone.life import Life
from deployd.drone.means import Means, Outcome, Place
from deployd.drone.scratch import Scratch
from deployd.errors import DeploydError
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance
from deployd.model.role import Check
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.custody import Holding
from deployd.processes.exits import Exit
from deployd.processes.listeners import Bind
from deployd.processes.ports import Ports
from deployd.processes.trees import ProcessRef
from deployd.testing.keeper import FakeKeeper, FakeProcess
from deployd.testing.rows import FakeOwnedRows

TERM, KILL = int(Signals.SIGTERM), int(Signals.SIGKILL)
# Claims are the machine's: no other test process may take one between two lives of a drone.
FIRST_PORT = 10000 + os.getpid() % 90 * 100
COMMIT = "c0ffee" * 6 + "abcd"
PLACE = Place("127.0.0.1", "127.0.0.1:6000", "http://127.0.0.1:6080")


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


class FakeConfigs:
    def __init__(self) -> None:
        self.variables: dict[str, str] = {}

    def values(self, line: AssignedInstance) -> Deferred[dict[str, str]]:
        return succeed(self.variables)


class FakeBuilds:
    """Everything is built, unless the test gives a ``problem`` or holds it back; ``say`` is the last asker's."""

    def __init__(self) -> None:
        self.problem: DeploydError | None = None
        self.held: Deferred[None] | None = None
        self.say: Callable[[str], None] = lambda text: None

    def ensure(
        self, line: AssignedInstance, checkout: Path, config: Mapping[str, str], say: Callable[[str], None]
    ) -> Deferred[None]:
        self.say = say
        if self.held is not None:
            return self.held
        return fail(self.problem) if self.problem is not None else succeed(None)


class FakeChecks:
    """An app is well when it listens and nobody says that it is ``ill``; ``asked`` are the ports."""

    def __init__(self, listening: set[int]) -> None:
        self.listening = listening
        self.ill = ""
        self.asked: list[int] = []

    def ask(self, app: str, check: Check, bind: Bind, run: Callable[[], Deferred[Exit]]) -> Deferred[Outcome]:
        self.asked.append(bind[1])
        if self.ill:
            return succeed(Outcome(False, self.ill))
        return succeed(Outcome(True) if bind[1] in self.listening else Outcome(False, "connection refused"))


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

    def queued(self, bind: Bind) -> Deferred[int]:
        return succeed(0)

    def listening(self, id: str, session: ProcessRef | None, closely: bool = False) -> Deferred[tuple[str, ...]]:
        return succeed(())


class House:
    """``listening`` are the ports on which somebody answers; ``ended`` are the ids that were swept, in order, with the
    session and the grace; ``happened`` is what happened to rows and processes, in order. ``before`` is the house of the
    drone's last life: what outlives a drone is the same."""

    def __init__(self, directory: Path, before: House | None = None) -> None:
        # Its own: what the last life still waited for never happens.
        self.reactor: Clock = Clock()
        self.reactor.rightNow = before.reactor.seconds() if before else 0.0
        self.keeper: FakeKeeper = before.keeper if before else FakeKeeper(self.reactor)
        self.keeper.clock = self.reactor
        self.directory = directory
        self.checkouts = FakeCheckouts(directory)
        self.rows = FakeOwnedRows(name="d1")
        if before:
            self.rows.table, self.rows.revision = before.rows.table, before.rows.revision
        else:
            self.rows.startService()
        self.ports = Ports(FIRST_PORT, FIRST_PORT + 99, self.reactor, start=directory.stat().st_ino)
        self._made: list[Instance] = []
        self.listening: set[int] = before.listening if before else set()
        self.custody = FakeCustody()
        self.opens_at_once = True
        self.ended: list[tuple[str, ProcessRef | int | None, float]] = []
        self.end_problem: DeploydError | None = None
        self.happened: list[str] = []
        self.saved: list[tuple[str, Life]] = []
        self.to_thread: Callable[..., Deferred[Any]] = execute
        self.place: Callable[[], Deferred[Place]] = lambda: succeed(PLACE)
        self.changes = 0
        self.configs = FakeConfigs()
        self.builds = FakeBuilds()
        self.checks = FakeChecks(self.listening)
        self.keeper.on_start = self._started
        self.means = Means(
            reactor=self.reactor,
            wall=self.keeper.wall,
            drone="d1",
            to_thread=lambda function, *arguments: self.to_thread(function, *arguments),
            keeper=self.keeper,
            checks=self.checks,
            custody=self.custody,  # type: ignore[arg-type]
            end=self._end,
            ports=self.ports,
            checkouts=self.checkouts,
            configs=self.configs,
            builds=self.builds,
            scratch=Scratch(directory / "tmp"),
            isolation=Isolation(),
            rows=self,
            place=lambda: self.place(),
            addresses=lambda: succeed(frozenset({"127.0.0.1"})),
            save=self._save,
            tail=lambda log, since: self.keeper.printed(log, since),
            jitter=lambda: 0.0,
            path="/usr/bin:/bin",
        )

    # The means that are the house itself.

    def put(self, row: Any, standing: bool = False) -> Deferred[Any]:
        self.happened.append(f"put {row.id}")
        return self.rows.put(row, standing)

    def free(self, id: str) -> Deferred[Any]:
        self.happened.append(f"free {id}")
        return self.rows.free(id)

    def _end(self, id: str, session: ProcessRef | int | None, grace: float, signum: int = TERM) -> Deferred[None]:
        self.ended.append((id, session, grace))
        if self.end_problem is not None:
            return fail(self.end_problem)
        processes = [process for process in self.keeper.running if process.env["PROCESS_ID"] == id]
        for process in processes:
            self.happened.append(f"{Signals(signum).name.removeprefix('SIG')} {id}")
            process.signal(signum)
        done: Deferred[None] = Deferred(lambda _: timer.cancel())
        if not any(not process.ended for process in processes):
            return succeed(None)

        def kill() -> None:
            for process in processes:
                if not process.ended:
                    process.signal(KILL)
            done.callback(None)

        timer = self.reactor.callLater(grace, kill)
        return done

    def _save(self, id: str, life: Life) -> Deferred[None]:
        self.saved.append((id, life))
        return succeed(None)

    def _started(self, process: FakeProcess) -> None:
        self.happened.append(f"start {process.env['PROCESS_ID']}")
        if self.opens_at_once and "PORT" in process.env:
            self.listening.add(int(process.env["PORT"]))

    # What tests do with it.

    def instance(self, assigned: AssignedInstance | None = None, life: Life | None = None) -> Instance:
        """One that is new, or the one with that ``life``."""
        entry = Entry(assigned or line(), "epoch", 1, life or Life())
        self._made.append(Instance(self.means, entry, life is None, self._changed))
        return self._made[-1]

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
        return self.keeper.processes[-1]

    def close(self) -> None:
        for instance in self._made:
            instance.leave()
        self.ports.close()

    def _changed(self, instance: Instance) -> None:
        self.changes += 1


def state_of(instance: Instance) -> str:
    seen: ObservedInstance = instance.observed()
    return seen.state.value
