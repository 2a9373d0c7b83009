"""Many pushes of one commit each, to a hub and to `git http-backend`: the first beside the last, and what comes after.

git's own maintenance (`git gc --auto`) is as by default, but not in the background, where it would not be counted.
`DEPLOYD_BENCH_PUSHES` says how many there are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from attrs import define, field

from benchmarks import git_servers, measuring
from benchmarks.git_comparison import Comparison, both
from benchmarks.git_processes import settled
from benchmarks.git_rows import HEAD
from benchmarks.git_servers import Server

REPOSITORY = "medium"
PUSHES = 1000
# So many of the first, and of the last, are looked at together.
SOME = 50
ROUNDS = 3
AFTERWARDS = ("newest", "cold", "clone")


@define
class Pushed:
    """What pushes took, in seconds; ``packs`` were there at most, when they were counted."""

    times: list[float] = field(factory=list)
    packs: int = 0

    def line(self, server: Server, app: str, used: float) -> str:
        some = min(SOME, len(self.times) // 2)
        first, last = median(self.times[:some]), median(self.times[-some:])
        place = server.repository(app)
        loose = sum(1 for ref in (place / "refs").rglob("*") if ref.is_file())
        slowest, cpu = 1000 * max(self.times), 1000 * used / len(self.times)
        return (
            f"| {server.name} | {1000 * first:.0f} | {1000 * last:.0f} | {last / first:.2f} | {slowest:.0f} |"
            f" {cpu:.0f} | {self.packs} | {_packs(place)} | {loose} |"
        )


def _packs(repository: Path) -> int:
    return sum(1 for _ in (repository / "objects" / "pack").glob("*.pack"))


def push(comparison: Comparison, pushes: int) -> Iterator[str]:
    """In turn to each of the servers."""
    servers = comparison.servers
    yield "| | first, ms | last, ms | of the first | slowest | CPU ms a push | packs, at most | packs | loose refs |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    found = {server.name: Pushed() for server in servers}
    before = {server.name: settled(server.pid) for server in servers}
    for number in range(pushes):
        comparison.source.commit()
        for server in servers:
            began = time.perf_counter()
            comparison.source.push(comparison.url(server))
            found[server.name].times.append(time.perf_counter() - began)
            if number % 10 == 9:
                found[server.name].packs = max(found[server.name].packs, _packs(server.repository(comparison.app)))
    for server in servers:
        yield found[server.name].line(server, comparison.app, settled(server.pid) - before[server.name])


def run(directory: Path) -> Iterator[str]:
    pushes = int(os.environ.get("DEPLOYD_BENCH_PUSHES", PUSHES))
    missing = git_servers.missing()
    if missing:
        yield f"{pushes} pushes: not measured, {', '.join(missing)} is not installed"
        return
    yield f"{pushes:,} pushes of one commit each to the {REPOSITORY} repository"
    yield ""
    with both(directory) as (servers, gaps):
        comparison = Comparison.of(REPOSITORY, servers, gaps, directory / REPOSITORY)
        yield from push(comparison, pushes)
        text = "The hub's slowest answer meanwhile: {:.0f} ms, {:.0f} ms of CPU; that of an idle process: {:.0f} ms"
        yield text.format(*gaps.read())
        rounds = measuring.rounds(ROUNDS)
        yield from ("", f"After them, median of {rounds}", "", HEAD)
        for _ in range(rounds):
            comparison.one_round(AFTERWARDS)
        yield from comparison.rows.lines()
