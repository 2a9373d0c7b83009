"""The hub beside `git http-backend` behind lighttpd: what a person's git and drones ask of both, with the same git.

Both hold the same repositories, which were pushed to them. Each operation is done with both in turn, as often as
`DEPLOYD_BENCH_ROUNDS` says; `DEPLOYD_BENCH_REPOSITORIES` and `DEPLOYD_BENCH_OPERATIONS` name those of interest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import git_servers, measuring
from benchmarks.git_comparison import OPERATIONS, Comparison, both
from benchmarks.git_gaps import Gaps
from benchmarks.git_processes import resident, tree
from benchmarks.git_repositories import SHAPES
from benchmarks.git_rows import HEAD, Operation, Rows, unmeasured
from benchmarks.git_servers import OURS, THEIRS, Server, git
from benchmarks.git_source import Source

ROUNDS = 5
MANY_REFS = 10_000
REFS = "refs"


def many_refs(servers: list[Server], gaps: Gaps, directory: Path, rounds: int) -> list[str]:
    """The rows of a repository with many refs on few commits."""
    source = Source.of("small", directory / "refs.git")
    commits = git("-C", str(source.path), "rev-list", "--all").split()
    lines = (f"create refs/heads/change/{number} {commits[number % len(commits)]}\n" for number in range(MANY_REFS))
    git("-C", str(source.path), "update-ref", "--stdin", stdin="".join(lines).encode())
    git("-C", str(source.path), "pack-refs", "--all")
    rows = Rows("many refs", servers, gaps, directory / "place")
    app = "many-refs"
    try:
        for server in servers:
            source.push(server.make(app), "--mirror")
            if server.name == THEIRS:
                git("-C", str(server.repository(app)), "pack-refs", "--all")
    except RuntimeError as error:
        return [unmeasured("many refs", error)]
    for _ in range(rounds):
        for version in (0, 2):
            rows.measure(ls_remote(app, version))
    return rows.lines()


def ls_remote(app: str, version: int) -> Operation:
    protocol = f"protocol.version={version}"
    name = f"ls-remote of {MANY_REFS:,} refs, version {version}"
    return Operation(name, 2.0, lambda server, _: none(git("-c", protocol, "ls-remote", f"{server.url}/{app}")))


def none(_: str) -> None:
    """What git says is not looked at."""


def memory(pid: int) -> tuple[float, float]:
    """Megabytes of a hub's main process, and of all below it."""
    main, *others = tree(pid)
    return resident([main]), resident(others)


def compare(servers: list[Server], gaps: Gaps, directory: Path) -> Iterator[str]:
    rounds = measuring.rounds(ROUNDS)
    wanted = measuring.named("DEPLOYD_BENCH_OPERATIONS", (*OPERATIONS, REFS))
    (pid,) = (server.pid for server in servers if server.name == OURS)
    notes = ["", "| memory of the hub, MB | main process | workers |", "| --- | --- | --- |"]
    notes.append("| at the start | {:.0f} | {:.0f} |".format(*memory(pid)))
    yield HEAD
    for name in measuring.named("DEPLOYD_BENCH_REPOSITORIES", tuple(SHAPES)):
        try:
            comparison = Comparison.of(name, servers, gaps, directory / name)
        except RuntimeError as error:
            yield unmeasured(name, error)
            continue
        for _ in range(rounds):
            comparison.one_round(wanted)
        yield from comparison.rows.lines()
        notes.append("| after {} | {:.0f} | {:.0f} |".format(name, *memory(pid)))
    if REFS in wanted:
        yield from many_refs(servers, gaps, directory, rounds)
    yield from notes


def run(directory: Path) -> Iterator[str]:
    missing = git_servers.missing()
    if missing:
        yield f"The hub beside git http-backend: not measured, {', '.join(missing)} is not installed"
        return
    yield f"The hub beside git http-backend behind lighttpd, median of {measuring.rounds(ROUNDS)} rounds"
    yield ""
    with both(directory) as (servers, gaps):
        yield from compare(servers, gaps, directory)
