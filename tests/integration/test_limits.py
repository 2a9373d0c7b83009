"""Limits as the kernel and a real keeper enforce them. Whatever eats here is bounded by the test, too."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted

from deployd.drone.isolation import HEADROOM, Isolation
from deployd.model.role import Limits
from deployd.processes.cgroups import Groups
from deployd.processes.delegation import find
from deployd.processes.exits import Exit
from deployd.wire.keeping import Launch
from tests.integration.apps import App, keeper, linked, until

M = 1 << 20
BOUND = "ulimit -v 2000000; ulimit -t 10; "


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("state")
    with keeper(directory):
        yield directory


@pytest.fixture
def groups() -> Iterator[Groups]:
    groups = find(f"deployd-test-{os.getpid()}")
    yield groups
    groups.clean(())
    assert not [top for top in groups.tops.values() if top.exists()]


@pytest_twisted.async_yield_fixture
async def app(state: Path, tmp_path: Path, groups: Groups) -> AsyncIterator[App]:
    async with linked(state) as keeping:
        app = App(keeping, state, tmp_path)
        yield app
        app.kill()
        await until(lambda: keeping.take_over(app.instance, lambda how: None) is None or bool(app.exits))
        keeping.forget(app.instance)


def needs(groups: Groups, controller: str) -> None:
    if controller not in groups.tops:
        pytest.skip(f"the {controller} controller of cgroups is not delegated to this user here")


async def run(app: App, isolation: Isolation, limits: Limits, script: str) -> Exit:
    """How a shell ends that runs within ``limits``."""
    isolation.groups.make(app.instance, limits)
    launch: Launch = isolation.confine(app.launch("/bin/sh", "-c", BOUND + script), "webapp", limits)
    app.exits.clear()
    await app.keeping.start(launch, app.exits.append)
    return await app.exit()


def printed(app: App) -> str:
    return b"".join(record.data for record in app.records() if record.stream).decode()


@pytest_twisted.ensureDeferred
async def test_open_files_are_limited_always(app: App) -> None:
    how = await run(
        app, Isolation(), Limits(files=40), "ulimit -n; ulimit -c; for i in 3 4 5; do eval exec $i'</dev/null'; done"
    )
    assert (how, printed(app)) == (Exit(0), "40\n0\n")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 40


@pytest_twisted.ensureDeferred
async def test_without_groups_a_process_is_refused_memory_far_above_its_limit(app: App) -> None:
    eat = f"exec python3 -c 'x = bytearray({64 * M} + {HEADROOM})'"
    assert (await run(app, Isolation(), Limits(memory=64 * M), eat)).code == 1
    assert "MemoryError" in printed(app)


@pytest_twisted.ensureDeferred
async def test_who_eats_memory_is_killed_by_the_kernel_and_the_reason_is_known(app: App, groups: Groups) -> None:
    needs(groups, "memory")
    limits, isolation = Limits(memory=64 * M), Isolation(groups)
    how = await run(app, isolation, limits, f"exec python3 -c 'x = b\"x\" * {200 * M}'")
    assert how == Exit(None, 9)
    assert isolation.cause(app.instance, limits, how) == "used more than its 64M of memory: was ended by SIGKILL"
    # The next start is not blamed for this one.
    how = await run(app, isolation, limits, "exit 1")
    assert (how, isolation.cause(app.instance, limits, how)) == (Exit(1), "")


@pytest_twisted.ensureDeferred
async def test_memory_counts_for_all_processes_together(app: App, groups: Groups) -> None:
    needs(groups, "memory")
    limits, isolation = Limits(memory=100 * M), Isolation(groups)
    # Forked, so that they are there together however slowly a program starts.
    eat = f"""exec python3 -c '
import os
import time
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        held = b"x" * {45 * M}
        time.sleep(2)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
'"""
    await run(app, isolation, limits, eat)
    assert groups.killed(app.instance) >= 1


@pytest_twisted.ensureDeferred
async def test_forks_end_at_the_limit_and_elsewhere_they_do_not(app: App, groups: Groups) -> None:
    needs(groups, "pids")
    fork = """exec python3 -c '
import os
import time
children = []
try:
    for _ in range(50):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
except OSError as error:
    print(len(children), error.strerror)
for child in children:
    os.kill(child, 9)
    os.waitpid(child, 0)
'"""
    assert await run(app, Isolation(groups), Limits(processes=10), fork) == Exit(0)
    assert printed(app) == "9 Resource temporarily unavailable\n"
    assert os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1] == 0


@pytest_twisted.ensureDeferred
async def test_a_share_of_the_cpu_is_a_share(app: App, groups: Groups) -> None:
    needs(groups, "cpu")
    spin = """exec python3 -c '
import time
end = time.monotonic() + 2
while time.monotonic() < end:
    pass
print(time.process_time())'"""
    await run(app, Isolation(groups), Limits(cpu=20), spin)
    # It has 0.4 s of 2; a machine with much else to do gives less.
    assert float(printed(app)) < 0.8


@pytest_twisted.ensureDeferred
async def test_groups_that_a_killed_drone_left_go_unless_something_runs_in_them(app: App, groups: Groups) -> None:
    needs(groups, "pids")
    limits = Limits(processes=10)
    groups.make("http-left", limits)
    groups.make(app.instance, limits)
    launch = Isolation(groups).confine(app.launch("/bin/sleep", "60"), "webapp", limits)
    held = await app.keeping.start(launch, app.exits.append)
    # It enters its group itself, a moment later.
    members = groups.tops["pids"] / app.instance / "cgroup.procs"
    await until(lambda: str(held.pid) in members.read_text().split())
    groups.clean({"http-kept"})
    there = [path.name for path in groups.tops["pids"].iterdir() if path.is_dir()]
    assert there == [app.instance]
    os.kill(held.pid, signal.SIGKILL)
    await app.exit()
