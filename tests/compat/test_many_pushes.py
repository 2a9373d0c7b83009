"""A repository stays small and right however many pushes it takes, and whenever the one who tidies it is killed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployd.git import pktlines
from deployd.git.bare import clear_bare
from deployd.git.limits import GitLimits
from deployd.git.packs.consolidating import consolidate
from deployd.git.packs.objects import Objects
from deployd.git.receiving.reception import receive
from deployd.git.repositories import Repositories
from tests.git.forge import ZERO

PUSHES = 1000 if os.environ.get("DEPLOYD_SOAK") else 24
LIMITS = GitLimits()

_TIDY = """
import os, shutil, sys
from itertools import count
from pathlib import Path
from deployd.git.limits import GitLimits
from deployd.git.packs.consolidating import consolidate
from deployd.git.packs.objects import Objects

def watch(steps):
    def hook(event, arguments):
        nonlocal steps
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            steps -= 1
            if steps < 0:
                os._exit(9)
    sys.addaudithook(hook)

for step in count():
    place = Path(sys.argv[2], str(step))
    shutil.copytree(sys.argv[1], place)
    child = os.fork()
    if not child:
        watch(step)
        consolidate(Objects(place), GitLimits())
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), status
    if not status:
        break
"""
"""Lets a run on a copy of a repository end before its first, its second, ... change on the disk, until one is whole."""


def git(directory: Path, *arguments: str, content: bytes = b"") -> bytes:
    """What a git command says."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, input=content, capture_output=True, check=True, env=environment).stdout


def history(directory: Path, commits: int) -> list[str]:
    """A repository of many files with one change in each commit; return the commits, the first one first."""
    git(directory, "init", "-q", "--bare")
    lines = []
    for number in range(commits):
        message = b"commit %d" % number
        lines.append(b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000" % (1_700_000_000 + number))
        lines.append(b"data %d\n%b" % (len(message), message))
        for file in range(60) if not number else [number * 7 % 60]:
            content = b"".join(b"line %d of %d\n" % (line, file) for line in range(20 + number // 60 * 3))
            lines.append(b"M 100644 inline d%d/f%d\ndata %d\n%b" % (file % 8, file, len(content) + 9, content))
            lines.append(b"%08d" % number)
    git(directory, "fast-import", "--quiet", content=b"\n".join(lines) + b"\n")
    return git(directory, "rev-list", "--reverse", "main").decode().split()


def push(hub: Path, source: Path, ref: str, old: str, new: str) -> None:
    """As git's client does it: a thin pack of what is new."""
    wanted = f"{new}\n" + (f"^{old}\n" if old != ZERO else "")
    pack = git(
        source, "pack-objects", "--stdout", "--revs", "--thin", "--delta-base-offset", "-q", content=wanted.encode()
    )
    commands = pktlines.line(f"{old} {new} {ref}\0report-status".encode()) + pktlines.FLUSH
    report = receive(hub, io.BytesIO(commands + pack), LIMITS).report
    assert f"ok {ref}".encode() in report, report


def fsck(repository: Path) -> None:
    """Raise CalledProcessError unless git finds no fault."""
    git(repository, "fsck", "--full", "--strict")


def packs(repository: Path) -> int:
    return len(list((repository / "objects/pack").glob("*.pack")))


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    repositories = Repositories(tmp_path / "hub")
    repositories.clean()
    repositories.create("webapp")
    return repositories.path("webapp")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.git"
    path.mkdir()
    return path


def test_a_push_for_each_commit(hub: Path, source: Path, tmp_path: Path) -> None:
    """Few packs are left, git finds nothing wrong with them, and a clone has exactly what was pushed."""
    commits = history(source, PUSHES)
    objects, most = Objects(hub), 0
    for number, (old, new) in enumerate(zip([ZERO, *commits], commits, strict=False)):
        push(hub, source, "refs/heads/main", old, new)
        if number % LIMITS.pushes_between == LIMITS.pushes_between - 1:
            most = max(most, packs(hub))
            consolidate(objects, LIMITS)
    assert most <= LIMITS.pushes_between + len(bin(PUSHES))
    fsck(hub)
    git(tmp_path, "clone", "-q", "--mirror", "--no-local", str(hub), "clone.git")
    for repository in (hub, tmp_path / "clone.git"):
        assert sorted(git(repository, "rev-list", "--objects", "--all").splitlines()) == sorted(
            git(source, "rev-list", "--objects", "--all").splitlines()
        )
    assert (hub / "packed-refs").read_text().splitlines()[1:] == [f"{commits[-1]} refs/heads/main"]


def test_a_kill_at_any_moment(hub: Path, source: Path, tmp_path: Path) -> None:
    """git finds nothing wrong with what is left, and the next run ends what was begun."""
    commits = history(source, 5)
    for old, new in zip([ZERO, *commits], commits, strict=False):
        push(hub, source, "refs/heads/main", old, new)
    (tmp_path / "kills").mkdir()
    command = [sys.executable, "-c", _TIDY, str(hub), str(tmp_path / "kills")]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=60)
    killed = sorted((tmp_path / "kills").iterdir(), key=lambda path: int(path.name))
    assert len(killed) > 20
    for repository in killed:
        fsck(repository)
        clear_bare(repository)
        consolidate(Objects(repository), LIMITS)
        assert len(list((repository / "objects/pack").iterdir())) == 2 * packs(repository) == 4
        assert len(list((repository / "deployd").iterdir())) == 2
    fsck(killed[0])
