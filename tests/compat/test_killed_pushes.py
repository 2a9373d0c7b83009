"""kill -9 of the process that takes a push, at moments nobody chose, with the real git on both sides.

DEPLOYD_SOAK=1 does it many times more often.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from deployd.git.receiving.quarantine import PREFIX
from tests.compat.service import Git, Service

ROUNDS = 200 if os.environ.get("DEPLOYD_SOAK") else 3
LONGEST = 0.3


def workers() -> list[int]:
    """The processes that do git's work."""
    pids = map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    return [pid for pid in pids if b"deployd.git.work.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest_twisted.ensureDeferred
async def test_a_push_whose_worker_is_killed_is_there_or_not(service: Service, git: Git) -> None:
    """The branch is where it was or where it should be, git finds nothing wrong, and the next push clears up."""
    work = await git.repository()
    await git(work, "push", "-q", f"{service.url}/webapp", "master")
    path, chance = service.repositories.path("webapp"), random.Random(os.getpid())
    old = (await git(work, "rev-parse", "HEAD")).strip()
    for number in range(ROUNDS):
        new = await git.commit(work, {f"d{number}/f{n}": chance.randbytes(2000).hex() for n in range(20)})
        pushing = git.run(work, "push", "-q", f"{service.url}/webapp", "master", f"master:b{number}")
        await deferLater(reactor, chance.uniform(0, LONGEST))
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        _, said, code = await pushing
        refs = await git(path, "for-each-ref", "--format=%(objectname) %(refname)")
        moved = f"{new} refs/heads/master" in refs
        assert moved or f"{old} refs/heads/master" in refs
        assert moved == (f"{new} refs/heads/b{number}" in refs)
        assert moved or code, said
        assert not code or service.cut_off_apps.pop() == "webapp"
        await git(path, "fsck", "--full", "--strict")
        old = new if moved else old
    await git(work, "push", "-q", f"{service.url}/webapp", "master")
    await git(path, "fsck", "--full", "--strict")
    assert list((path / "objects").glob(PREFIX + "*")) == []
