"""Builds with a real keeper, real commands and a real disk."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from deployd.drone.building import Builds, _task
from deployd.drone.caches import Caches, key_of
from deployd.drone.disk import size_of
from deployd.drone.isolation import Isolation
from deployd.drone.keeper_process import KeeperProcess
from deployd.drone.keeping import Keeping
from deployd.drone.logs import LogFiles
from deployd.drone.problem import BuildFailed
from deployd.drone.room import Room
from deployd.drone.steps import Steps
from deployd.drone.tasks import run_task
from deployd.model.instance import AssignedInstance
from deployd.model.role import BuildStep, shell_argv
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.census import Census
from deployd.processes.ending import end
from deployd.wire.keeping import Launch
from tests.drone.builds import FakeCheckouts
from tests.drone.house import line
from tests.integration.apps import until

PATH = os.environ["PATH"]
STAMP = BuildStep("mkdir made && date +%N > made/stamp", ("lock",), ("made",), 20.0)
TIMEOUT = 20.0


class Drone:
    """What of a drone builds, in the directory ``top``; ``begin`` and ``stop`` are its life."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.checkouts = FakeCheckouts(top / "checkouts")
        self.caches = Caches(top / "caches")
        self._keeper = KeeperProcess(reactor, top)
        self.keeping = Keeping(reactor, self._keeper)
        self.said: list[str] = []

    async def begin(self) -> None:
        run = deferToThread
        census = Census(run, lambda: {self.keeping.pid})
        files = LogFiles(self.top / "logs")

        def ending(id: str, session: object, grace: float, signum: int = 15) -> Deferred[None]:
            return end(reactor, census, id, session, grace, signum)  # type: ignore[arg-type]

        steps = Steps(
            reactor,
            self.caches,
            lambda launch, within: run_task(self.keeping, reactor, ending, launch, within),
            lambda id: ending(id, None, 0.0),
            lambda log, lines: files.tail(log, lines=lines),
            Isolation(),
            run,
            PATH,
        )
        room = Room(reactor, run, self.top, lambda: size_of(self.top / "checkouts"), None, 1 << 30)
        self.builds = Builds(reactor, self.checkouts, self.caches, steps, room, run)
        await self.keeping.begin()
        self.builds.recall()

    async def stop(self) -> None:
        await self.builds.close()
        await self.keeping.quit()
        await until(lambda: not self._keeper.starting)
        # The link hears of its end in the reactor's next turn.
        await deferLater(reactor, 0.01)

    def release(self, number: int, lock: str, *steps: BuildStep) -> AssignedInstance:
        assigned = evolve(line(release=f"v{number}"), build=steps or (STAMP,))
        self.checkouts.make(CheckoutKey.of(assigned), {"lock": lock})
        return assigned

    def path(self, assigned: AssignedInstance) -> Path:
        return self.checkouts.path(CheckoutKey.of(assigned))

    def ensure(self, assigned: AssignedInstance, **config: str) -> Deferred[None]:
        return self.builds.ensure(assigned, self.path(assigned), config, self.said.append).addTimeout(TIMEOUT, reactor)

    async def stamp(self, assigned: AssignedInstance) -> str:
        await self.ensure(assigned)
        return (self.path(assigned) / "made" / "stamp").read_text()


def with_drone(test: Callable[[Drone], Awaitable[None]]) -> Callable[[Path], Deferred[None]]:
    @pytest_twisted.ensureDeferred
    async def run(tmp_path: Path) -> None:
        drone = Drone(tmp_path)
        await drone.begin()
        try:
            await test(drone)
        finally:
            await drone.stop()

    run.__name__ = test.__name__
    return run  # type: ignore[no-any-return]


@with_drone
async def test_commits_with_the_same_lock_file_share_what_was_built(drone: Drone) -> None:
    first, same, other = drone.release(1, "a"), drone.release(2, "a"), drone.release(3, "b")
    stamp = await drone.stamp(first)
    assert await drone.stamp(same) == stamp
    assert await drone.stamp(other) != stamp


@with_drone
async def test_ten_who_wait_run_one_build(drone: Drone) -> None:
    count = BuildStep("echo run >> $HOME/runs && mkdir made", ("lock",), ("made",))
    waiting = [drone.ensure(drone.release(number, "a", count)) for number in range(1, 11)]
    assert all(good for good, _ in await DeferredList(waiting))
    assert (drone.caches.home("webapp") / "runs").read_text() == "run\n"


@with_drone
async def test_a_build_that_fails_shows_its_last_lines(drone: Drone) -> None:
    noisy = BuildStep('for i in $(seq 60); do echo "line $i"; done; echo oh no >&2; exit 3', ("lock",), ("made",))
    with pytest.raises(BuildFailed, match=r"^the build failed: `for i in .*` exited with code 3$") as caught:
        await drone.ensure(drone.release(1, "a", noisy))
    lines = caught.value.tail.splitlines()
    assert (lines[0], lines[-2:], len(lines)) == ("line 12", ["line 60", "oh no"], 50)


@with_drone
async def test_a_build_that_takes_too_long_is_ended_with_all_that_it_started(drone: Drone) -> None:
    slow = BuildStep("echo began; setsid sleep 1000 & sleep 1000", timeout=1.0)
    assigned = drone.release(1, "a", slow)
    with pytest.raises(BuildFailed, match=r"did not end within 1 s$") as caught:
        await drone.ensure(assigned)
    assert caught.value.tail.splitlines()[0] == "began"
    assert sleeping(drone.path(assigned)) == []


@with_drone
async def test_what_a_killed_drone_left_building_is_ended_and_begun_anew(drone: Drone) -> None:
    slow = BuildStep("echo $$ >> $HOME/pids; mkdir made; test -e $HOME/go || sleep 1000", ("lock",), ("made",))
    assigned = drone.release(1, "a", slow)
    directory = drone.caches.directory(key_of("webapp", slow, drone.path(assigned)))
    home = drone.caches.home("webapp")
    for path in (directory, home):
        path.mkdir(parents=True)
    id = _task(directory)
    env = {"PATH": PATH, "HOME": str(home), "PROCESS_ID": id}
    await drone.keeping.start(Launch(id, shell_argv(slow.command), env, str(directory), ""), lambda _: None)
    await until(lambda: bool(sleeping(directory)))
    (home / "go").touch()
    await drone.ensure(assigned)
    assert sleeping(directory) == []
    assert len((home / "pids").read_text().split()) == 2
    assert list(drone.keeping.held()) == []


@with_drone
async def test_a_drone_that_ends_leaves_nothing_of_a_build(drone: Drone) -> None:
    assigned = drone.release(1, "a", BuildStep("sleep 1000"))
    waiting = drone.ensure(assigned)
    waiting.addErrback(lambda _: None)
    await until(lambda: bool(sleeping(drone.path(assigned))))
    await drone.builds.close()
    assert sleeping(drone.path(assigned)) == []


def sleeping(directory: Path) -> list[int]:
    """The processes that sleep in ``directory``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if command.startswith(b"sleep\0") and (process / "cwd").readlink() == directory:
                found.append(int(process.name))
        except OSError:
            continue
    return found
