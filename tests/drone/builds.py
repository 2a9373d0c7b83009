"""Builds without a keeper: commands are functions of the test's, checkouts are directories."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone import built
from deployd.drone.building import Builds
from deployd.drone.caches import Caches
from deployd.drone.problem import BuildFailed
from deployd.drone.room import Room
from deployd.drone.steps import Steps
from deployd.errors import NoAnswer
from deployd.model.instance import AssignedInstance
from deployd.model.role import BuildStep
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.exits import Exit
from deployd.wire.keeping import Launch
from tests.drone.house import line

NPM = BuildStep("npm ci", ("lock",), ("modules",))
MAKE = BuildStep("make all")


class FakeCheckouts:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.all: dict[CheckoutKey, dict[str, str]] = {}
        self.made_anew: list[CheckoutKey] = []

    def make(self, key: CheckoutKey, files: Mapping[str, str]) -> None:
        self.all[key] = dict(files)
        built.forget(self.path(key))
        for name, text in files.items():
            path = self.path(key) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def keys(self) -> frozenset[CheckoutKey]:
        return frozenset(self.all)

    def path(self, key: CheckoutKey) -> Path:
        return self.top / f"{key.release}-{key.commit}"

    def anew(self, key: CheckoutKey) -> Deferred[None]:
        self.made_anew.append(key)
        for root, directories, files in os.walk(self.path(key), topdown=False):
            for name in (*files, *directories):
                path = Path(root, name)
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self.make(key, self.all[key])
        return succeed(None)

    def stored(self, holder: str) -> Deferred[list[Any]]:
        return succeed([])

    async def drop(self, stored: Any, holder: str) -> None:
        raise AssertionError(stored)


class FakeIsolation:
    """``owned`` has the directories below the state directory that were given to their app, in order."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.owned: list[tuple[str, str]] = []

    def own(self, app: str, *trees: Path) -> None:
        self.owned += [(app, str(tree.relative_to(self.top))) for tree in trees if tree.is_dir()]

    def confine(self, launch: Launch, app: str) -> Launch:
        return evolve(launch, argv=(f"as {app}", *launch.argv))


class BuildsTestCase(SynchronousTestCase):
    """A command is run by the function that ``commands`` has for it: in its directory, at once, for its exit.

    With ``held`` it ends when the test calls ``end``.
    """

    def setUp(self) -> None:
        self.top = Path(self.mktemp()).absolute()
        self.clock = Clock()
        self.checkouts = FakeCheckouts(self.top / "checkouts")
        self.caches = Caches(self.top / "caches")
        self.commands: dict[str, Callable[[Path, Launch], int | None]] = {
            "npm ci": self.npm,
            "make all": lambda cwd, _: (cwd / "out").write_text("made") and 0,
        }
        self.isolation = FakeIsolation(self.top)
        self.ran: list[Launch] = []
        self.within: list[float] = []
        self.swept: list[str] = []
        self.held = False
        self.running: list[tuple[Launch, Deferred[Exit]]] = []
        self.cut_off: list[str] = []
        self.output = "first\nlast"
        self.said: list[str] = []
        self.free = 10 << 30
        self.budget = 1 << 40
        self.begin()

    def npm(self, cwd: Path, launch: Launch) -> int:
        (cwd / "modules").mkdir()
        (cwd / "modules" / "content").write_text((cwd / "lock").read_text())
        return 0

    def begin(self) -> None:
        """The drone's next life."""
        self.steps = Steps(
            self.clock, self.caches, self.run_it, self.sweep, self.tail, self.isolation, execute, "/usr/bin:/bin"
        )
        self.room = Room(
            self.clock, execute, self.top, lambda: 7_000_000, 0, self.budget, free=lambda _: (self.free, 0)
        )
        self.builds = Builds(self.clock, self.checkouts, self.caches, self.steps, self.room, execute)
        self.room.open(self.checkouts, self.builds)
        self.addCleanup(self.room.close)
        self.builds.recall()

    def run_it(self, launch: Launch, within: float) -> Deferred[Exit]:
        self.ran.append(launch)
        self.within.append(within)
        if not self.held:
            return self.result(launch)
        doing: Deferred[Exit] = Deferred(lambda _: self.cut_off.append(launch.argv[-1]))
        self.running.append((launch, doing))
        return doing

    def result(self, launch: Launch) -> Deferred[Exit]:
        code = self.commands[launch.argv[-1]](Path(launch.cwd), launch)
        if code is None:
            self.clock.advance(self.within[-1])
        return fail(NoAnswer("it has not ended")) if code is None else succeed(Exit(code))

    def end(self) -> None:
        """All that runs comes to its end."""
        running, self.running = self.running, []
        for launch, doing in running:
            self.result(launch).chainDeferred(doing)

    async def sweep(self, id: str) -> None:
        self.swept.append(id)

    def tail(self, log: str, lines: int) -> str:
        return "\n".join(self.output.splitlines()[-lines:])

    def release(
        self,
        number: int = 1,
        lock: str = "a",
        steps: tuple[BuildStep, ...] = (NPM,),
        files: Mapping[str, str] | None = None,
    ) -> AssignedInstance:
        """A line of a release of that number, whose checkout is there."""
        assigned = evolve(line(release=f"v{number}"), build=steps)
        self.checkouts.make(CheckoutKey.of(assigned), {"app.js": "", "lock": lock, **(files or {})})
        return assigned

    def path(self, assigned: AssignedInstance) -> Path:
        return self.checkouts.path(CheckoutKey.of(assigned))

    def ensure(self, assigned: AssignedInstance, config: Mapping[str, str] | None = None) -> Deferred[None]:
        return self.builds.ensure(assigned, self.path(assigned), config or {}, self.said.append)

    def built(self, assigned: AssignedInstance, **config: str) -> Path:
        self.successResultOf(self.ensure(assigned, config))
        return self.path(assigned)

    def fails(self, assigned: AssignedInstance) -> BuildFailed:
        error = self.failureResultOf(self.ensure(assigned), BuildFailed).value
        assert isinstance(error, BuildFailed)
        return error

    def cached(self) -> list[Path]:
        return [path for path in self.top.glob("caches/webapp/*") if path.is_dir() and path.name[0] != "."]
