"""kill -9 at random moments: what was acknowledged is there, ports are right, nothing runs twice."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess

import pytest

from tests.e2e.apps import HELLO
from tests.e2e.cluster import BIN, Cluster, Repository, get
from tests.e2e.waiting import until

ROUNDS = 40 if os.environ.get("DEPLOYD_SOAK") else 4


class Life:
    """Deploys, retirements and kills, and what must be true after each."""

    def __init__(self, cluster: Cluster, repository: Repository, chance: random.Random) -> None:
        self.cluster = cluster
        self.repository = repository
        self.chance = chance
        self.deployed: list[str] = []

    def round(self, number: int) -> None:
        victim = self.chance.choice(sorted(self.cluster.daemons))
        commit = self.repository.commit({"number": str(number)})
        self.repository.push("webapp")
        deploy = self.start("deploy", "webapp", commit)
        self.kill_soon(victim)
        if self.ended(deploy) != 0:
            self.cluster.deployctl("deploy", "webapp", commit)
        self.deployed.append(commit)
        if len(self.deployed) > 2:
            gone = self.deployed.pop(0)
            retire = self.start("retire", "webapp", gone)
            self.kill_soon(self.chance.choice(sorted(self.cluster.daemons)))
            if self.ended(retire) != 0:
                self.cluster.deployctl("retire", "webapp", gone)
        until(self.right, f"all is right after round {number}, in which {victim} was killed")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(BIN / "deployctl"), "--timeout", "60", *arguments]
        return subprocess.Popen(command, env=self.cluster.deployctl_environment(), stderr=subprocess.DEVNULL)

    def ended(self, command: subprocess.Popen[bytes]) -> int:
        return command.wait(120)

    def kill_soon(self, name: str) -> None:
        select.select([], [], [], self.chance.uniform(0, 0.6))
        self.cluster.daemons[name].kill()
        self.cluster.daemons[name].start()

    def right(self) -> bool:
        """Each deployed commit: one process and one row on each drone, which answers; and nothing else."""
        table = self.cluster.ports()
        drones = [daemon for daemon in self.cluster.daemons.values() if daemon.kind == "drone"]
        if set(table) != set(self.deployed):
            return False
        if len(self.cluster.processes()) != len(self.deployed) * len(drones):
            return False
        rows = [row for roles in table.values() for row in roles["http"]]
        if len(rows) != len(self.deployed) * len(drones) or len({row["port"] for row in rows}) != len(rows):
            return False
        try:
            return all(get(f"{row['host']}:{row['port']}") == (200, "hello") for row in rows)
        except OSError:
            return False


@pytest.fixture
def life(cluster: Cluster) -> Life:
    seed = int(os.environ.get("DEPLOYD_SEED", random.randrange(10**6)))
    print(f"DEPLOYD_SEED={seed}")
    for name in ("d1", "d2"):
        cluster.start_drone(name, "--", "python3", "web.py")
    repository = cluster.repository("webapp", {"web.py": HELLO})
    repository.push("webapp")
    return Life(cluster, repository, random.Random(seed))


def test_nothing_acknowledged_is_lost_and_nothing_runs_twice(life: Life) -> None:
    for number in range(ROUNDS):
        life.round(number)


def test_apps_killed_at_random_are_started_again_once(life: Life) -> None:
    life.repository.commit({"x": "y"})
    life.repository.push("webapp")
    life.cluster.deployctl("deploy", "webapp", "master")
    life.deployed.append(life.repository.head)
    for _ in range(ROUNDS):
        for pid in life.cluster.processes():
            if life.chance.random() < 0.7:
                os.kill(pid, signal.SIGKILL)
        until(life.right, "every app is up once")
