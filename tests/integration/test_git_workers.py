"""Git's workers as processes: descriptors, bounds, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from deployd.git.problems import BadPack
from deployd.git.work.crew import Terms
from deployd.git.work.orders import Order, Unfinished
from deployd.git.work.pool import Pool
from deployd.git.work.spawning import spawner

MODULE = "tests.integration.odd_worker"
PARENT = f"""
from twisted.internet import reactor
from deployd.git.work.crew import Terms
from deployd.git.work.orders import Order
from deployd.git.work.pool import Pool
from deployd.git.work.spawning import spawner
pool = Pool(reactor, spawner(reactor, 1 << 30, {MODULE!r}), dict(quick=Terms(workers=1, waiting=1)))
order = Order(name="sleep", arguments=dict(seconds=60.0))
reactor.callWhenRunning(pool.run, order, lambda note: print(note["pid"], flush=True))
reactor.run()
"""


@pytest_twisted.async_yield_fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(reactor, spawner(reactor, 200 << 20, MODULE), {"quick": Terms(workers=2, waiting=10)})
    yield made
    await made.stop(5.0)


async def do(pool: Pool, name: str, **more: Any) -> tuple[dict[str, Any], bytes]:
    answer = await pool.run(Order(name=name, **more))
    return answer.document, answer.body


@pytest_twisted.ensureDeferred
async def test_what_goes_to_a_worker_comes_back(pool: Pool) -> None:
    """Documents, bytes and notes, whatever a job prints; files both ways; what is wrong, by its name."""
    notes: list[Any] = []
    body = os.urandom(1 << 20)
    answer = await pool.run(Order(name="echo", arguments={"a": [1, "ü"]}, body=body), notes.append)
    assert (answer.document, answer.body, notes) == ({"a": [1, "ü"]}, body, [{"heard": 1 << 20}])
    with tempfile.TemporaryFile() as file:
        file.write(b"content")
        file.flush()
        assert (await do(pool, "read", file=file.fileno()))[1] == b"content"
        await do(pool, "write", file=file.fileno())
        file.seek(0)
        assert file.read() == b"written"
    with pytest.raises(BadPack, match="it is damaged"):
        await do(pool, "refuse")


@pytest_twisted.ensureDeferred
async def test_what_kills_a_worker_hurts_nobody_else(pool: Pool) -> None:
    """Memory, a crash, a deadline; signals that are for the whole terminal do not even kill it."""
    first = (await do(pool, "signal"))[0]["pid"]
    assert (await do(pool, "signal"))[0]["pid"] == first
    for name in ("grow", "grow_slowly"):
        with pytest.raises(Unfinished, match="memory"):
            await do(pool, name)
    with pytest.raises(Unfinished, match="in the middle"):
        await do(pool, "die")
    with pytest.raises(Unfinished, match="longer than"):
        await do(pool, "sleep", arguments={"seconds": 60.0}, seconds=0.2)
    assert await do(pool, "echo", body=b"x") == ({}, b"x")


@pytest_twisted.ensureDeferred
async def test_a_worker_does_not_outlive_its_parent() -> None:
    """Not even in the middle of a job, and however the parent ends."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(await deferToThread(parent.stdout.readline))
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        await deferLater(reactor, 0.01)
    else:
        raise AssertionError("it lives")
