"""From starting `deployctl deploy` until the apps of all drones answer HTTP, against the same done by hand.

By hand is, for all drones in parallel: `git fetch` of the pushed branch from the same hub, `git worktree add`, starting
the app and polling its port. deployd may take 1.5 times that, plus one bare import of Twisted's reactor, which is what
any Twisted program pays before it does anything. The commit has been pushed, and both have had the time to settle.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.apps import HELLO
from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT, Cluster, Repository, get
from tests.e2e.waiting import until

DRONES = (1, 2, 4, 8)
ROUNDS = 10
POLL = 0.002
DEADLINE = 60.0


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class ByHand:
    """What a person's script would do on each drone."""

    def __init__(self, cluster: Cluster, directory: Path, drones: int) -> None:
        self._url = cluster.git_url("webapp")
        self._clones = [directory / f"clone{number}" for number in range(drones)]
        for clone in self._clones:
            subprocess.run(["git", "clone", "-q", self._url, str(clone)], check=True)
        self._apps: list[subprocess.Popen[bytes]] = []

    def deploy(self, commit: str) -> None:
        with ThreadPoolExecutor(len(self._clones)) as pool:
            self._apps = list(pool.map(lambda clone: self._deploy_one(clone, commit), self._clones))

    def _deploy_one(self, clone: Path, commit: str) -> subprocess.Popen[bytes]:
        subprocess.run(["git", "fetch", "-q", self._url, "master"], cwd=clone, check=True)
        place = clone.with_name(f"{clone.name}-{commit}")
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(place), commit], cwd=clone, check=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        environment = PYTHON_ENVIRONMENT | {"HOST": "127.0.0.1", "PORT": str(port)}
        app = subprocess.Popen(["python3", "web.py"], cwd=place, env=environment)
        until_answering(f"127.0.0.1:{port}")
        return app

    def clean(self) -> None:
        for app in self._apps:
            app.kill()
            app.wait()


def until_answering(address: str) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            assert get(address)[0] == 200
            return
        except OSError:
            assert time.monotonic() < end, f"{address} does not answer"
            time.sleep(POLL)


def rows_of(registry: str, commit: str, count: int) -> list[str]:
    """The addresses of ``count`` instances of ``commit``, as soon as the port table has them."""
    connection = http.client.HTTPConnection(registry)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        connection.request("GET", f"/v1/ports/{commit}?wait=30")
        table = json.loads(connection.getresponse().read())
        rows = [f"{row['host']}:{row['port']}" for row in table.get(commit, {}).get("http", [])]
        if len(rows) == count:
            connection.close()
            return rows
        time.sleep(POLL)
    raise AssertionError(f"{commit} is not on {count} drones")


def deploy(cluster: Cluster, commit: str, drones: int) -> tuple[float, float]:
    """Seconds until all apps answer, and until deployctl has ended."""
    start = time.perf_counter()
    command = [str(BIN / "deployctl"), "deploy", "webapp", commit]
    deployctl = subprocess.Popen(command, env=cluster.deployctl_environment(), stdout=subprocess.DEVNULL)
    for address in rows_of(cluster.registry.http, commit, drones):
        until_answering(address)
    answered = time.perf_counter() - start
    assert deployctl.wait(DEADLINE) == 0
    return answered, time.perf_counter() - start


def prefetched(cluster: Cluster, commit: str) -> bool:
    """Whether every drone has the commit."""
    mirrors = list(cluster.directory.glob("d*/mirrors/webapp.git"))
    present = [
        subprocess.run(["git", "cat-file", "-e", f"{commit}^{{tree}}"], cwd=mirror, capture_output=True, check=False)
        for mirror in mirrors
    ]
    return bool(mirrors) and all(done.returncode == 0 for done in present)


def one_round(cluster: Cluster, repository: Repository, by_hand: ByHand, drones: int, number: int) -> list[float]:
    commit = repository.commit({"number": str(number)})
    repository.push("webapp")
    until(lambda: prefetched(cluster, commit), "the drones have prefetched the push")
    floor = timed(lambda: by_hand.deploy(commit))
    by_hand.clean()
    answered, ended = deploy(cluster, commit, drones)
    cluster.deployctl("retire", "webapp", commit)
    bare = timed(lambda: subprocess.run([sys.executable, "-c", "import twisted.internet.reactor"], check=True))
    return [floor, answered, ended, bare]


def measure(directory: Path, drones: int, rounds: int) -> list[float]:
    """Medians in seconds: by hand, all apps answer, deployctl ended, bare reactor import."""
    directory.mkdir(parents=True)
    cluster = Cluster(directory)
    try:
        cluster.start_core()
        for number in range(drones):
            cluster.start_drone(f"d{number}", "--", "python3", "web.py")
        repository = cluster.repository("webapp", {"web.py": HELLO})
        repository.push("webapp")
        by_hand = ByHand(cluster, directory, drones)
        results = [one_round(cluster, repository, by_hand, drones, number) for number in range(rounds)]
        return [statistics.median(column) for column in zip(*results, strict=True)]
    finally:
        cluster.close()


def run(directory: Path) -> list[str]:
    rounds = int(os.environ.get("DEPLOYD_BENCH_ROUNDS", ROUNDS))
    lines = [
        f"Deploy latency, median of {rounds}, milliseconds",
        "",
        "| drones | by hand | bare import | allowed (1.5x + import) | all apps answer | of allowed | deployctl ends |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for drones in DRONES:
        floor, answered, ended, bare = (1000 * value for value in measure(directory / str(drones), drones, rounds))
        allowed = 1.5 * floor + bare
        row = (drones, floor, bare, allowed, answered, answered / allowed, ended)
        lines.append("| {} | {:.0f} | {:.0f} | {:.0f} | {:.0f} | {:.2f} | {:.0f} |".format(*row))
    return lines
