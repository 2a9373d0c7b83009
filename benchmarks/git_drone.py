"""The drone's side of git beside git itself: bringing one commit from a hub, and writing its files.

Both fetch from the same hub, which has sent the same before; they begin with nothing, and go on with the commit after.
Both write the files that they have fetched, git also an index.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import ClassVar

from attrs import define

from benchmarks import git_servers, measuring
from benchmarks.git_repositories import SHAPES
from benchmarks.git_rows import unmeasured
from benchmarks.git_servers import SECRET, Server, git
from benchmarks.git_source import Source
from deployd.git.limits import GitLimits
from deployd.git.mirror import transfer
from deployd.git.mirror.checking_out import checkout
from deployd.git.mirror.fetching import create_mirror, fetch

ROUNDS = 5
DEADLINE = 120.0
# The branches by which git asks for a commit and for the one after it.
FIRST, SECOND = "refs/heads/first", "refs/heads/second"
FETCH, FILES, NEXT, NEXT_FILES = "fetch, depth 1", "checkout", "fetch of the next commit", "checkout of the next commit"
STEPS = ((FIRST, FETCH, FILES), (SECOND, NEXT, NEXT_FILES))
ALLOWED = {FETCH: 1.7, FILES: 1.0, NEXT: 1.7, NEXT_FILES: 1.0}
GIT, DRONE = "git", "drone"
HEAD = "| repository | operation | git s | drone s | of git's |\n| --- | --- | --- | --- | --- |"
Times = dict[tuple[str, str], list[float]]


@define
class ByGit:
    """A bare repository in ``place``, and work trees of it."""

    place: Path
    app: str
    server: Server
    name: ClassVar[str] = GIT

    def start(self) -> None:
        git("init", "-q", "--bare", "--template=", str(self.place / GIT))

    def fetch(self, branch: str, commit: str) -> None:
        git("-C", str(self.place / GIT), "fetch", "-q", "--depth", "1", f"{self.server.url}/{self.app}", branch)

    def checkout(self, commit: str) -> None:
        target = str(self.place / f"git-{commit}")
        git("-C", str(self.place / GIT), "worktree", "add", "-q", "--detach", target, commit)


@define
class ByDrone:
    """A drone's mirror in ``place``, and checkouts of it, made in this process."""

    place: Path
    app: str
    server: Server
    name: ClassVar[str] = DRONE

    def start(self) -> None:
        create_mirror(self.place / DRONE)

    def fetch(self, branch: str, commit: str) -> None:
        hub = transfer.Source(f"http://{self.server.url.rpartition('@')[2]}/{self.app}", "x", SECRET)
        fetch(self.place / DRONE, hub, commit, DEADLINE, GitLimits())

    def checkout(self, commit: str) -> None:
        checkout(self.place / DRONE, commit, self.place / f"drone-{commit}", GitLimits())


def one_round(sides: list[ByGit | ByDrone], commits: tuple[str, str]) -> Times:
    """What each operation took each side."""
    times: Times = {}
    for side in sides:
        side.start()
    for commit, (branch, fetching, writing) in zip(commits, STEPS, strict=True):
        for side in sides:
            began = time.perf_counter()
            side.fetch(branch, commit)
            fetched = time.perf_counter()
            side.checkout(commit)
            times[side.name, fetching] = [fetched - began]
            times[side.name, writing] = [time.perf_counter() - fetched]
    return times


def warm(sides: list[ByGit | ByDrone], commits: tuple[str, str]) -> None:
    """Let the hub make what it will send."""
    for side in sides:
        side.start()
        for commit, (branch, *_) in zip(commits, STEPS, strict=True):
            side.fetch(branch, commit)


def measure(name: str, server: Server, directory: Path, rounds: int) -> Iterator[str]:
    """Nothing is deleted before the end, as a file system has more work with new files for a while after."""
    source = Source.of(name, directory / f"{name}.git")
    source.push(server.make(name), "--mirror")
    times: Times = {(side, operation): [] for side in (GIT, DRONE) for operation in ALLOWED}

    def sides(what: str) -> list[ByGit | ByDrone]:
        place = directory / f"{name}-{what}"
        place.mkdir()
        return [ByGit(place, name, server), ByDrone(place, name, server)]

    for number in range(rounds):
        commits = (source.head(), source.commit())
        source.push(f"{server.url}/{name}", f"{commits[0]}:{FIRST}", f"{commits[1]}:{SECOND}")
        warm(sides(f"warm-{number}"), commits)
        # The other begins the next time.
        for what, values in one_round(sides(str(number))[:: 1 - number % 2 * 2], commits).items():
            times[what] += values
    for operation, allowed in ALLOWED.items():
        theirs, ours = (median(times[side, operation]) for side in (GIT, DRONE))
        yield f"| {name} | {operation} | {theirs:.3f} | {ours:.3f} | {ours / theirs:.2f} (<= {allowed}) |"


def run(directory: Path) -> Iterator[str]:
    if shutil.which("git") is None:
        yield "A drone's fetches and checkouts beside git's: not measured, git is not installed"
        return
    directory.mkdir(exist_ok=True)
    rounds = measuring.rounds(ROUNDS)
    yield f"A drone's fetches and checkouts beside git's, of what the hub has at hand, median of {rounds}"
    yield ""
    yield HEAD
    with git_servers.hub(directory / "hub") as server:
        for name in measuring.named("DEPLOYD_BENCH_REPOSITORIES", tuple(SHAPES)):
            try:
                yield from measure(name, server, directory, rounds)
            except RuntimeError as error:
                yield unmeasured(name, error)
