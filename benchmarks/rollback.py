"""From starting `deployctl rollback` until each of 20 routers sends only to the old release.

Every router is asked all the time, on a connection that is kept; it has followed when the first answer of the old
release after the last one of the new has come. Beside it a bare import of Twisted's reactor, which is what any Twisted
program pays before it does anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster import BIN, Cluster
from tests.e2e.load import Connection
from tests.e2e.operations import APP

ROUTERS = 20
ROUNDS = 30
ALLOWED = 1.0
HOST = "shop.example"
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
# Between two requests to a router; more often, and the asking would be most of the work.
PAUSE = 0.04
AFTERWARDS = 0.2


@dataclass
class Answer:
    router: int
    start: float
    end: float
    release: str


class Asking:
    """Asks every router all the time."""

    def __init__(self, addresses: list[str]) -> None:
        self.answers: list[Answer] = []
        self._ending = False
        self._tasks = [asyncio.create_task(self._ask(*each)) for each in enumerate(addresses)]

    async def _ask(self, router: int, address: str) -> None:
        host, _, port = address.rpartition(":")
        connection = Connection(*await asyncio.open_connection(host, int(port)))
        while not self._ending:
            start = time.monotonic()
            status, body = await connection.ask(REQUEST)
            assert status == 200, (status, body)
            self.answers.append(Answer(router, start, time.monotonic(), json.loads(body)["release"]))
            await asyncio.sleep(PAUSE)
        connection.close()

    async def end(self) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)


async def deployctl(cluster: Cluster, *arguments: str) -> tuple[float, float]:
    """When it was started and when it had ended."""
    start = time.monotonic()
    command = [str(BIN / "deployctl"), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, env=cluster.deployctl_environment(), stdout=subprocess.DEVNULL
    )
    assert await process.wait() == 0, arguments
    return start, time.monotonic()


def followed(answers: list[Answer], router: int, old: str) -> float:
    """When ``router`` had sent its first answer of the old release after all others."""
    moment = float("inf")
    for answer in (answer for answer in answers if answer.router == router):
        moment = min(moment, answer.end) if answer.release == old else float("inf")
    return moment


async def one_round(cluster: Cluster, addresses: list[str]) -> list[float]:
    """Seconds until the median router and the last had followed, and until the command had ended."""
    await deployctl(cluster, "route", "set", HOST, "webapp:http", "v2")
    asking = Asking(addresses)
    await asyncio.sleep(AFTERWARDS)
    start, ended = await deployctl(cluster, "rollback", HOST)
    await asyncio.sleep(AFTERWARDS)
    await asking.end()
    late = [answer for answer in asking.answers if answer.start > ended and answer.release != "v1"]
    assert not late, late
    moments = [followed(asking.answers, router, "v1") - start for router in range(len(addresses))]
    return [statistics.median(moments), max(moments), ended - start]


async def measure(cluster: Cluster, addresses: list[str], rounds: int) -> list[list[float]]:
    results = []
    for _ in range(rounds):
        measured = await one_round(cluster, addresses)
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", "import twisted.internet.reactor"], check=True)
        results.append([*measured, time.monotonic() - start])
    return results


def start(cluster: Cluster) -> list[str]:
    """A cluster with two releases of an app; the addresses of its routers."""
    cluster.start_core()
    cluster.start_drone("d1", "--", "python3", "-S", "-E", "app.py", "quick")
    repository = cluster.repository("webapp", {"app.py": APP})
    for number in range(2):
        commit = repository.commit({"number": str(number)})
        repository.push("webapp")
        cluster.deployctl("deploy", "webapp", commit)
    cluster.deployctl("route", "set", HOST, "webapp:http", "v1")
    return [cluster.start_router(f"r{number}").http for number in range(ROUTERS)]


def run(directory: Path) -> list[str]:
    rounds = int(os.environ.get("DEPLOYD_BENCH_ROUNDS", ROUNDS))
    directory.mkdir(exist_ok=True)
    cluster = Cluster(directory)
    try:
        addresses = start(cluster)
        columns = list(zip(*asyncio.run(measure(cluster, addresses, rounds)), strict=True))
    finally:
        cluster.close()
    bare = statistics.median(columns[-1])
    lines = [
        f"Rollback on {ROUTERS} routers, {rounds} times, milliseconds from the command's start (allowed: p99 1000)",
        "",
        "| until | median | p99 | max | median of a bare import | p99 of allowed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    names = ("half of the routers follow", "all routers follow", "deployctl ends", "(bare import)")
    for name, column in zip(names, columns, strict=True):
        median, worst = statistics.median(column), statistics.quantiles(column, n=100, method="inclusive")[98]
        row = (name, 1000 * median, 1000 * worst, 1000 * max(column), median / bare, worst / ALLOWED)
        lines.append("| {} | {:.0f} | {:.0f} | {:.0f} | {:.1f} | {:.2f} |".format(*row))
    return lines
