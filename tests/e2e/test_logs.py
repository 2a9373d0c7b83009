"""Logs, from apps to whoever follows them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import require
from tests.e2e.cluster import BIN, Cluster
from tests.e2e.waiting import until

pytestmark = require("git")

COUNTER = """
import itertools, sys, time
for number in itertools.count():
    print("line", number, flush=True)
    print("trouble", number, file=sys.stderr, flush=True)
    time.sleep(0.05)
"""
FILES = {"Procfile": f"count-worker: {BIN}/python -S count.py\n", "count.py": COUNTER}
ENDS = {("*", "was ended by SIGTERM"), ("*", "exited with code 143")}
LINE = re.compile(r"(\S+) (\S+) (\S+) ([|*]) (.*)")


class Follower:
    """``deployctl logs -f``, and what it has said."""

    def __init__(self, cluster: Cluster, *arguments: str) -> None:
        self._out = cluster.directory / "followed"
        self._err = cluster.directory / "notes"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [str(BIN / "deployctl"), "logs", "-f", *arguments],
                env=cluster.deployctl_environment(),
                stdout=out,
                stderr=err,
            )

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """(time, drone, id, mark, text)."""
        return [match.groups() for line in self._out.read_text().splitlines() if (match := LINE.fullmatch(line))]

    @property
    def notes(self) -> str:
        return self._err.read_text()

    def numbers(self, drone: str, word: str = "line") -> list[int]:
        found = [line[4].split() for line in self.lines if line[1] == drone and line[3] == "|"]
        return [int(number) for kind, number in found if kind == word]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def follow(cluster: Cluster) -> Iterator[Callable[..., Follower]]:
    begun: list[Follower] = []

    def start(*arguments: str) -> Follower:
        begun.append(Follower(cluster, *arguments))
        return begun[-1]

    yield start
    for follower in begun:
        follower.process.kill()
        follower.process.wait()


def test_are_followed_over_restarts_of_all_between_without_loss_or_repetition(
    cluster: Cluster, follow: Callable[..., Follower]
) -> None:
    for name in ("d1", "d2"):
        cluster.start_drone(name)
    repository = cluster.repository("webapp", FILES)
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    follower = follow("webapp", "-n", "10000")
    until(lambda: follower.numbers("d1") and follower.numbers("d2"), "both drones are followed")

    cluster.hub.kill()
    cluster.hub.start()
    cluster.daemons["d1"].kill()
    cluster.daemons["d1"].start()
    marks = {name: max(follower.numbers(name)) for name in ("d1", "d2")}
    until(lambda: all(max(follower.numbers(name)) > marks[name] + 20 for name in marks), "it goes on")
    assert follower.end() == 0

    for name in ("d1", "d2"):
        for word in ("line", "trouble"):
            numbers = follower.numbers(name, word)
            assert numbers == list(range(len(numbers))), (name, word)
    started = [line for line in follower.lines if line[3] == "*"]
    assert sorted(line[1] for line in started) == ["d1", "d2"], "nothing was started twice"
    assert follower.notes.count("the hub") == 1, follower.notes

    rows: list[dict[str, Any]] = cluster.json("logs", "webapp@v1", "--drone", "d1", "-n", "4")
    assert [row["stream"] for row in rows] in (["stdout", "stderr"] * 2, ["stderr", "stdout"] * 2)
    assert {(row["drone"], row["role"], row["release"]) for row in rows} == {("d1", "count-worker", "v1")}
    assert [row["stamp"] for row in rows] == sorted(row["stamp"] for row in rows)


def ended(cluster: Cluster) -> list[tuple[str, ...]]:
    """All lines, once one of the last says how it ended; the keeper may write that a moment later.

    Both the shell and what it runs are told to end: where the shell hears of the other's end first, it says so.
    """
    said = cluster.deployctl("logs", "webapp", "-n", "10000").splitlines()
    lines = [match.groups() for line in said if (match := LINE.match(line))]
    return lines if {line[3:5] for line in lines[-4:]} & ENDS else []


def test_are_there_when_the_release_is_gone(cluster: Cluster) -> None:
    cluster.start_drone("d1")
    repository = cluster.repository("webapp", FILES)
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    cluster.deployctl("retire", "webapp", "v1")
    lines = until(lambda: ended(cluster), "its end is told")
    assert (lines[0][3], lines[0][4].partition(",")[0]) == ("*", "started")
    assert lines[1][4] in ("line 0", "trouble 0")
    times = [line[0] for line in lines]
    assert times == sorted(times)
    assert json.loads(cluster.deployctl("--json", "logs", "webapp", "--role", "nope")) == []
    cluster.deployctl("logs", "nope", code=2)
    cluster.deployctl("logs", "webapp@v7", code=2)
    cluster.deployctl("logs", "webapp", "--drone", "nope", code=2)
