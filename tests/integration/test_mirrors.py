"""A drone's mirrors, with workers that are processes; the fake that unit tests have instead answers alike."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, execute
from twisted.internet.protocol import Factory, Protocol

from deployd.errors import InternalError, Refused, UnknownCommit, Unreachable
from deployd.git.limits import GitLimits
from deployd.git.mirror import fetching
from deployd.git.mirror.mirrors import LANES, Mirrors
from deployd.git.work.orders import Answer, Order
from deployd.git.work.pool import MEMORY, Pool
from deployd.git.work.spawning import spawner
from deployd.testing.git_worker import run_here
from tests.git.forge import Objects

Run = Callable[[Order], Deferred[Answer]]


@pytest_twisted.async_yield_fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(reactor, spawner(reactor, MEMORY), LANES)
    yield pool
    await pool.stop(5.0)


def runs(pool: Pool) -> list[Run]:
    return [pool.run, lambda order: execute(run_here, order)]


def stored(mirror: Path, mode: str = "100644") -> str:
    """A commit in a new mirror, of one entry of that mode."""
    objects = Objects()
    commit = objects.commit(objects.tree((mode, b"lib", objects.blob())))
    fetching.create_mirror(mirror)
    fetching.store(mirror, commit, io.BytesIO(objects.pack()), GitLimits())
    return commit


@pytest_twisted.ensureDeferred
async def test_workers_and_their_fake_do_the_same(pool: Pool, tmp_path: Path) -> None:
    """What they say, what they raise, and what is on disk afterwards."""
    seen = []
    for number, run in enumerate(runs(pool)):
        mirrors, place = Mirrors(run, GitLimits()), tmp_path / str(number)
        mirror, submodule = place / "webapp.git", place / "other.git"
        good, bad = stored(mirror), stored(submodule, "160000")
        said: list[object] = [await mirrors.has(mirror, good), await mirrors.has(mirror, "1" * 40)]
        said.append(await mirrors.size(mirror, good))
        await mirrors.checkout(mirror, good, place / "v1")
        said.append((place / "v1" / "lib").read_bytes())
        for asked, kind in (
            (mirrors.checkout(mirror, "1" * 40, place / "v2"), UnknownCommit),
            (mirrors.size(submodule, bad), Refused),
            (mirrors.fetch(mirror, "http://127.0.0.1:1/x", "token", "2" * 40, 5.0), Unreachable),
            (mirrors.checkout(mirror, good, Path("/proc/v1")), OSError),
        ):
            with pytest.raises(kind) as caught:
                await asked
            said.append((type(caught.value), str(caught.value)))
        await mirrors.keep(mirror, ())
        said.append(await mirrors.has(mirror, good))
        seen.append(said)
    assert seen[0] == seen[1]


class Silent(Protocol):
    """A hub that says nothing; ``factory.asked`` fires when somebody comes."""

    factory: Any

    def connectionMade(self) -> None:
        self.factory.asked.callback(None)


@pytest_twisted.ensureDeferred
async def test_a_worker_that_dies_fails_that_one_try_with_a_sentence(pool: Pool, tmp_path: Path) -> None:
    """Here in the middle of a fetch; the next order has another worker."""
    factory: Any = Factory.forProtocol(Silent)
    factory.asked = Deferred()
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    mirrors, mirror = Mirrors(pool.run, GitLimits()), tmp_path / "webapp.git"
    commit = stored(mirror)
    url = f"http://127.0.0.1:{port.getHost().port}/webapp"
    fetch = Deferred.fromCoroutine(mirrors.fetch(mirror, url, "secret-token", "1" * 40, 60.0))
    await factory.asked
    (worker,) = psutil.Process().children()
    assert not any("secret-token" in word for word in worker.cmdline())
    worker.kill()
    with pytest.raises(InternalError) as caught:
        await fetch
    assert str(caught.value) == "a git worker ended in the middle of it; try again"
    await port.stopListening()
    assert await mirrors.has(mirror, commit)
