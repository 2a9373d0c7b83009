"""``git push -o`` with the real git: lines come as they are said, and no pusher holds up who says them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater

from deployd.git.limits import GitLimits
from deployd.git.web.voice import Voice
from deployd.model.policy import Policy
from deployd.model.push_options import PushOptions
from tests.compat.service import Git, Service
from tests.compat.test_http import RECEIVE, post, wire
from tests.git import forge
from tests.git.forge import ZERO, Objects

DEADLINE = 60.0
OPTIONS = b"report-status side-band-64k push-options"


class Pushing(ProcessProtocol):
    """A git that runs on its own, in a process group of its own."""

    def __init__(self, git: Git, work: Path, *arguments: str) -> None:
        self.said = ""
        self.ended: Deferred[int] = Deferred()
        environment = {"HOME": str(git.home), "PATH": os.environ["PATH"], "LC_ALL": "C", "PASSWORD": git.password}
        helper = "credential.helper=!f() { echo username=x; printf 'password=%s\\n' \"$PASSWORD\"; }; f"
        words = ["setsid", "git", "-c", helper, "push", *arguments]
        self.process = reactor.spawnProcess(self, "/usr/bin/env", ["env", *words], environment, str(work))

    def errReceived(self, data: bytes) -> None:
        self.said += data.decode(errors="replace")

    def processEnded(self, reason: object) -> None:
        self.ended.callback(reason.value.exitCode)  # type: ignore[attr-defined]

    async def until_said(self, text: str) -> None:
        started = time.monotonic()
        while text not in self.said:
            assert time.monotonic() - started < DEADLINE, self.said
            await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_lines_come_as_they_are_said(service: Service, git: Git) -> None:
    """After the refs have moved; the push ends with what it was told, and git knows where the branch is."""
    work = await git.repository()
    await git(work, "remote", "add", "deployd", f"{service.url}/webapp")
    more: Deferred[None] = Deferred()
    voices: list[Voice] = []

    async def follow(voice: Voice) -> None:
        voices.append(voice)
        voice.say("deployd: first")
        await more
        voice.say("deployd: last")

    service.follow = follow
    service.remarks = ["deployd: before"]
    pushing = Pushing(git, work, "-o", "deploy", "deployd", "master")
    await pushing.until_said("remote: deployd: first")
    assert "remote: deployd: before" in pushing.said
    assert service.repositories.head("webapp") == (await git(work, "rev-parse", "HEAD")).strip()
    assert not pushing.ended.called
    more.callback(None)
    assert await pushing.ended == 0
    assert "remote: deployd: last" in pushing.said
    assert "[new branch]" in pushing.said
    assert voices[0].receipt.options == PushOptions(deploy=True)
    assert voices[0].receipt.target == "refs/heads/master"
    assert await git(work, "rev-parse", "deployd/master") == await git(work, "rev-parse", "HEAD")


@pytest_twisted.ensureDeferred
async def test_ctrl_c_leaves_the_push_as_it_is_and_is_noticed(service: Service, git: Git) -> None:
    work = await git.repository()
    left: Deferred[None] = Deferred()

    async def follow(voice: Voice) -> None:
        voice.left = lambda: left.callback(None)
        voice.say("deployd: first")
        await left

    service.follow = follow
    pushing = Pushing(git, work, "-o", "deploy", f"{service.url}/webapp", "master")
    await pushing.until_said("first")
    os.killpg(pushing.process.pid, signal.SIGINT)
    await left.addTimeout(DEADLINE, reactor)
    await pushing.ended
    assert service.repositories.head("webapp") == (await git(work, "rev-parse", "HEAD")).strip()


@pytest_twisted.ensureDeferred
async def test_a_wrong_option_or_too_many_branches_move_nothing(service: Service, git: Git) -> None:
    work = await git.repository()
    url = f"{service.url}/webapp"
    said = await git(work, "push", "-o", "deplyo", url, "master", ok=False)
    assert "[remote rejected] master -> master (there is no push option 'deplyo'; there are deploy, no-deploy," in said
    await git(work, "branch", "other")
    await git.commit(work, {"x": "y"})
    said = await git(work, "push", "-o", "deploy", url, "master", "other", ok=False)
    assert "this push has 2 branches: 'master', 'other'" in said
    assert service.repositories.apps() == []
    assert service.leftovers() == []
    await git(work, "push", "-o", "no-deploy", url, "master", "other")


@pytest_twisted.ensureDeferred
async def test_the_policy_says_what_may_be_forced_and_deleted(service: Service, git: Git) -> None:
    work = await git.repository()
    url = f"{service.url}/webapp"
    await git(work, "push", url, "master", "master:feature/a")
    await git(work, "commit", "-q", "--amend", "-m", "rewritten")
    said = await git(work, "push", "--force", url, "master", ok=False)
    assert "(non-fast-forward; `deployctl app set webapp allow-force=master` allows it)" in said
    service.policies["webapp"] = Policy().with_values({"allow-force": "feature/*", "allow-delete": "off"})
    await git(work, "push", "--atomic", "--force", url, "master", "master:feature/a", ok=False)
    assert len(service.pushes) == 1
    said = await git(work, "push", "--force", url, "master", "master:feature/a", ok=False)
    assert "(forced update)" in said
    (update,) = service.pushes[1][1]
    assert (update.ref, update.forced) == ("refs/heads/feature/a", True)
    assert "allow-delete=feature/a` allows it" in await git(work, "push", url, ":feature/a", ok=False)
    service.policies["webapp"] = Policy().with_values({"allow-force": "all"})
    await git(work, "push", "--force", url, "master", ":feature/a")
    await git(service.repositories.path("webapp"), "fsck", "--full", "--strict")


@pytest_twisted.ensureDeferred
async def test_of_two_forced_pushes_at_once_exactly_one_wins(service: Service, git: Git) -> None:
    """Each saw the same branch; the other is told."""
    service.policies["webapp"] = Policy().with_values({"allow-force": "all"})
    work = await git.repository()
    url = f"{service.url}/webapp"
    await git(work, "push", url, "master")
    for name in ("left", "right"):
        await git(git.home, "clone", "-q", url, str(git.home / name))
        await git(git.home / name, "commit", "-q", "--amend", "-m", name)
    lease = "--force-with-lease=master:origin/master"
    results = await DeferredList([git.run(git.home / name, "push", lease, url, "master") for name in ("left", "right")])
    codes = [code for _, (_, _, code) in results]
    assert sorted(code == 0 for code in codes) == [False, True]
    assert sum(len(updates) for _, updates in service.pushes) == 2


@pytest_twisted.ensureDeferred
async def test_a_pusher_who_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    """However much is said; it is dropped after the stall limit, and no place is kept for it."""
    service = Service(tmp_path / "hub", GitLimits(stall_seconds=0.3, followers=1))
    gone: Deferred[None] = Deferred()
    begun: Deferred[None] = Deferred()

    async def follow(voice: Voice) -> None:
        begun.callback(None)
        while not voice.gone:
            for _ in range(300):
                voice.say("x" * 1000)
            await deferLater(reactor, 0)
        gone.callback(None)

    service.follow = follow
    service.start()
    try:
        objects = Objects()
        tip = objects.commit()
        option = forge.pktlines.line(b"deploy") + forge.pktlines.FLUSH
        body = forge.push([("refs/heads/master", ZERO, tip)], b"", OPTIONS) + option + objects.pack()
        lazy = await wire(service)
        lazy.transport.pauseProducing()
        lazy.transport.write(post("/webapp/git-receive-pack", RECEIVE, body))
        await begun.addTimeout(DEADLINE, reactor)
        other = forge.push([("refs/heads/other", ZERO, tip)], b"", OPTIONS) + option + forge.pack([])
        quick = await wire(service)
        quick.transport.write(post("/webapp/git-receive-pack", RECEIVE, other))
        answer = await quick.closed.addTimeout(DEADLINE, reactor)
        assert b"this one goes on untold" in answer
        assert b"ok refs/heads/other" in answer
        await gone.addTimeout(DEADLINE, reactor)
    finally:
        lazy.transport.abortConnection()
        await lazy.closed
        await service.stop()
