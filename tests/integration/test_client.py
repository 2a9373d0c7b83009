"""The registry's client on real sockets: under asyncio, over several addresses, and as docs/client shows it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from deployd.client import aio
from deployd.errors import NoAnswer, UsageError
from deployd.model.registration import Registration
from deployd.registry.daemon import RegistryDaemon
from deployd.registry.filter import RowFilter
from deployd.registry.options import RegistryOptions
from tests.integration.test_registry import until
from tests.registry.rows import ordered

EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "client.md").read_text(), re.DOTALL)


class World:
    """A registry."""

    def __init__(self, state: Path) -> None:
        self._addresses = state / "addresses.json"
        options = RegistryOptions()
        where = ["--port", "0", "--http-port", "0", "--interface", "127.0.0.1", "--state-dir", str(state)]
        options.parseOptions(["--secret", "beep boop", *where])
        self.daemon = RegistryDaemon(reactor, options)

    async def start(self) -> None:
        self.daemon.startService()
        await until(self._addresses.exists)
        self.amp = int(json.loads(self._addresses.read_text())["amp"].rpartition(":")[2])

    def rows(self) -> list[Registration]:
        return ordered(self.daemon.registry.rows(RowFilter()))


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "state")
    await made.start()
    yield made
    await made.daemon.stopService()
    await until(lambda: not made.daemon._factory.peers)


@pytest.fixture
def dead() -> Any:
    """A port that refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def use(addresses: str) -> list[Any]:
    """What a program on asyncio may do, and what is left of it on its loop."""
    loop: Any = asyncio.get_running_loop()
    before = set(loop._selector.get_map())
    async with aio.connect(addresses, secret="beep boop", name="web-1") as registry:
        row = await registry.register("web@1.2.3", 8080, meta={"zone": "a"})
        assert (row.host, row.drone, row.namespace) == ("127.0.0.1", "web-1", "default")
        assert [one.id for one in await registry.query("web@^1")] == [row.id]
        (changed,) = await asyncio.gather(registry.update(row.id, meta={"zone": "b"}))
        assert await registry.get("web", meta={"zone": "b"}, wait=5) == [changed]
        with pytest.raises(NoAnswer):
            await registry.get("nobody", wait=0.1)
        with pytest.raises(UsageError):
            await registry.query("web@^^")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await registry.get("nobody")
        events = registry.watch("web")
        seen = [(event.type, event.row.port if event.row else 0) async for event in _until(events, 2)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(events)
        free = asyncio.create_task(registry.free(row.id))
        seen += [(event.type, event.row.port if event.row else 0) async for event in _until(events, 1)]
        await free
        await events.aclose()
        assert [event async for event in events] == []
        await registry.register("web", 8081)
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    left = set(loop._selector.get_map()) - before
    return [seen, tasks, left, [timer for timer in loop._scheduled if not timer.cancelled()]]


async def _until(events: Any, count: int) -> Any:
    for _ in range(count):
        yield await anext(events)


@pytest_twisted.ensureDeferred
async def test_a_program_on_asyncio_may_come_and_go(world: World, dead: int) -> None:
    """Twice, in a thread that is not the reactor's; the first address is not there, the second has a name."""
    addresses = f"127.0.0.1:{dead},localhost:{world.amp}"
    for _ in range(2):
        threads = threading.active_count()
        seen, *left = await deferToThread(asyncio.run, use(addresses))
        assert seen == [("reset", 0), ("put", 8080), ("delete", 8080)]
        assert left == [[], set(), []]
        assert threading.active_count() <= threads + 1
        assert world.rows() == []


@pytest_twisted.ensureDeferred
async def test_a_program_that_is_cancelled_frees_its_rows(world: World) -> None:
    async def cancelled() -> None:
        async with aio.connect(f"127.0.0.1:{world.amp}", secret="beep boop") as registry:
            await registry.register("web", 8080)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await registry.get("nobody")

    with pytest.raises(asyncio.CancelledError):
        await deferToThread(asyncio.run, cancelled())
    assert world.rows() == []


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
@pytest_twisted.ensureDeferred
async def test_the_examples_of_the_document_run(world: World, number: int, dead: int) -> None:
    program = EXAMPLES[number].replace("registry.example:6000", f"127.0.0.1:{world.amp}")
    program = program.replace("registry2.example:6000", f"127.0.0.1:{dead}")
    assert "example" not in program
    environ = os.environ | {"DEPLOYD_SECRET": "beep boop"}
    arguments = ["-W", "error", "-c", program]
    out, err, code = await getProcessOutputAndValue(sys.executable, arguments, environ, reactor=reactor)
    assert code == 0, (out, err)
    assert {b"found", b"put"} <= set(out.split()), out
    assert not re.search(b"Traceback|Unhandled", err), err
    assert world.rows() == []


@pytest_twisted.ensureDeferred
async def test_importing_it_installs_no_reactor_and_is_light(tmp_path: Path) -> None:
    program = (
        "import sys, deployd.client; light = 'twisted' not in sys.modules; deployd.client.RegistryClient; "
        "heavy = {'twisted.internet.reactor', 'cattrs', 'deployd.net.identity'} & set(sys.modules); "
        "assert light and not heavy, (light, heavy)"
    )
    _, err, code = await getProcessOutputAndValue(sys.executable, ["-c", program], env=os.environ, reactor=reactor)
    assert code == 0, err
