"""What charts say, held against ``git rev-list``, while git itself adds loose objects, packs and maintenance."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from deployd.git.packs.ancestry import between, within
from deployd.git.packs.objects import Objects
from deployd.git.packs.reach import Reach

_COMMITS = 12
"""So few that git leaves their objects loose."""


def git(directory: Path, *arguments: str, content: bytes = b"") -> bytes:
    """What a git command says."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, input=content, capture_output=True, check=True, env=environment).stdout


def stream(draw: random.Random, first: int) -> bytes:
    """Commits for ``git fast-import``: changes, deletions, renames, merges over older ones, modes, submodules, tags."""
    lines: list[str] = []
    for mark in range(first, first + _COMMITS):
        lines += [
            f"commit refs/heads/b{mark % 3}",
            f"mark :{mark}",
            f"committer A <a@example.org> {1_700_000_000 + mark} +0100",
        ]
        lines += ["data 1", "m"]
        if mark > 1:
            parents = draw.sample(range(max(1, mark - 6), mark), min(mark - 1, draw.choice((1, 1, 1, 2))))
            lines += [("merge" if number else "from") + f" :{parent}" for number, parent in enumerate(parents)]
        for _ in range(draw.randrange(4)):
            path = f"d{draw.randrange(3)}/e{draw.randrange(3)}/f{draw.randrange(4)}"
            lines += draw.choice(
                (
                    [
                        f"M {draw.choice(('100644', '100755', '120000'))} inline {path}",
                        "data 2",
                        str(draw.randrange(10, 30)),
                    ],
                    [f"D d{draw.randrange(3)}/e{draw.randrange(3)}"],
                    [f"M 160000 {draw.randrange(9):040d} {path}s"],
                    ["deleteall"],
                )
            )
    lines += [f"tag t{first}", f"from :{first}", "tagger A <a@example.org> 1700000000 +0000", "data 1", "t", "done"]
    return "\n".join(lines).encode() + b"\n"


def test_charts_agree_with_rev_list_whatever_git_does_to_the_repository(tmp_path: Path) -> None:
    """Loose objects, packs on top of each other, all in one pack again."""
    where, draw = tmp_path / "app.git", random.Random(6)
    where.mkdir()
    git(where, "init", "-q", "--bare")
    objects = Objects(where)
    marks = str(tmp_path / "marks")
    for number, maintenance in enumerate(
        (["count-objects"], ["repack", "-qd"], ["repack", "-qd"], ["gc", "-q", "--prune=now"])
    ):
        known = [f"--import-marks={marks}"] if number else []
        git(
            where,
            "fast-import",
            "--quiet",
            "--force",
            "--done",
            f"--export-marks={marks}",
            *known,
            content=stream(draw, 1 + number * _COMMITS),
        )
        git(where, *maintenance)
        objects.refresh()
        assert number or objects.packs[0].path is None
        agree(objects, draw)
    assert len(objects.packs) == 1
    objects.close()


def agree(objects: Objects, draw: random.Random) -> None:
    """For all refs, and for pairs of commits."""
    graph = objects.graph
    refs = [
        bytes.fromhex(line.decode())
        for line in git(objects.repository, "for-each-ref", "--format=%(objectname)").split()
    ]
    everything = listed(objects.repository, ["--all"])
    reach = Reach(objects, refs)
    places = graph.introduced(reach.commits) | set(reach.others)
    assert {objects.id(place) for place in places} == everything
    for _ in range(4):
        want, have = draw.sample(sorted(reach.commits), 2)
        wanted, there = graph.ids[want].hex(), graph.ids[have].hex()
        new = between(graph, [have], [want])
        needed = listed(objects.repository, [wanted, f"^{there}"])
        sent = {objects.id(place) for place in graph.introduced(new)}
        assert needed <= sent <= listed(objects.repository, [wanted])
        ancestor = subprocess.run(
            ["git", "-C", str(objects.repository), "merge-base", "--is-ancestor", there, wanted], check=False
        )
        assert bool(within(graph, [want], {have})) == (ancestor.returncode == 0)


def listed(where: Path, tips: list[str]) -> set[bytes]:
    """The ids of ``git rev-list --objects``."""
    names = git(where, "rev-list", "--objects", "--no-object-names", *tips).split()
    return {bytes.fromhex(name.decode()) for name in names}
