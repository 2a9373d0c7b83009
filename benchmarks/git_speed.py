"""The hub beside `git http-backend` behind lighttpd: what a person's git and drones ask of both, with the same git.

Both hold the same repositories, which were pushed to them. Each operation is done with both in turn, as often as
`DEPLOYD_BENCH_ROUNDS` says; `DEPLOYD_BENCH_REPOSITORIES` and `DEPLOYD_BENCH_OPERATIONS` name those of interest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from attrs import define, field

from benchmarks import git_gaps, git_servers, measuring
from benchmarks.git_gaps import Gaps
from benchmarks.git_processes import resident, settled, tree
from benchmarks.git_repositories import MAIN, SHAPES
from benchmarks.git_rows import HEAD, Operation, Rows, unmeasured
from benchmarks.git_servers import OURS, Server, git, git_processes
from benchmarks.git_source import Source

ROUNDS = 5
MANY_REFS = 10_000
DRONES = (8, 50)
CLONES = 8
OPERATIONS = ("clone", "newest", "drones", "cold", "everything", "clones", "refs")
# Who pushes everything to a large repository may wait longer.
EVERYTHING = {"large": 2.5}
_apps = count(1)


@define
class Comparison:
    """One repository on both servers, as ``app``; a client of each has what was pushed last but one."""

    name: str
    source: Source
    servers: list[Server]
    rows: Rows
    app: str = field(init=False)
    followers: dict[str, str] = field(init=False, factory=dict)

    def start(self, place: Path) -> None:
        self.app = f"{self.name}{next(_apps)}"
        for server in self.servers:
            self.source.push(server.make(self.app), "--mirror")
            settled(server.pid)
            self.followers[server.name] = str(place / server.name.replace(" ", "-"))
            git("clone", "-q", "--bare", str(self.source.path), self.followers[server.name])

    def one_round(self, wanted: list[str]) -> None:
        if "clone" in wanted:
            self.rows.measure(Operation("full clone", 1.0, self.clone, cpu=0.5))
        if "newest" in wanted:
            self.push()
            self.rows.measure(Operation("fetch of the newest push", 1.0, self.fetch_newest))
        for drones in DRONES if "drones" in wanted else ():
            self.push()
            self.rows.measure(self.to_drones(f"to {drones} drones", 0.7, drones))
        if "cold" in wanted:
            self.push()
            self.rows.measure(self.to_drones("depth 1, cold", 1.5, 1))
        if "everything" in wanted:
            allowed = EVERYTHING.get(self.name, 1.5)
            self.rows.measure(Operation("push of everything", allowed, self.push_everything, self.make_empty))
        if "clones" in wanted:
            self.rows.measure(Operation(f"{CLONES} clones at once", 1.0, self.clone_often))

    def push(self) -> None:
        """A new commit that neither server has sent to anybody, and which each follower lacks."""
        for server in self.servers:
            git("-C", self.followers[server.name], "fetch", "-q", str(self.source.path), f"+{MAIN}:{MAIN}")
        self.source.commit()
        self.rows.measure(Operation("push of one commit", 1.3, lambda server, _: self.source.push(self.url(server))))

    def url(self, server: Server) -> str:
        return f"{server.url}/{self.app}"

    def clone(self, server: Server, place: Path) -> None:
        git("clone", "-q", "--bare", self.url(server), str(place / "clone"))

    def clone_often(self, server: Server, place: Path) -> None:
        clone = ("clone", "-q", "--bare", self.url(server))
        git_processes([(*clone, str(place / str(number))) for number in range(CLONES)])

    def fetch_newest(self, server: Server, place: Path) -> None:
        git("-C", self.followers[server.name], "fetch", "-q", self.url(server), f"{MAIN}:{MAIN}")

    def to_drones(self, name: str, allowed: float, drones: int) -> Operation:
        """All at once, as drones do when a push is announced to them."""

        def prepare(server: Server, place: Path) -> None:
            for number in range(drones):
                git("init", "-q", "--bare", "--template=", str(place / str(number)))

        def act(server: Server, place: Path) -> None:
            fetch = ("fetch", "-q", "--depth", "1", self.url(server), MAIN)
            git_processes([("-C", str(place / str(number)), *fetch) for number in range(drones)])

        return Operation(name, allowed, act, prepare)

    def make_empty(self, server: Server, place: Path) -> None:
        place.joinpath("url").write_text(server.make(f"{self.name}{next(_apps)}"))

    def push_everything(self, server: Server, place: Path) -> None:
        self.source.push(place.joinpath("url").read_text(), "--mirror")


def many_refs(servers: list[Server], gaps: Gaps, directory: Path, rounds: int) -> list[str]:
    """The rows of a repository with many refs on few commits."""
    source = Source.of("small", directory / "refs.git")
    commits = git("-C", str(source.path), "rev-list", "--all").split()
    lines = (f"create refs/heads/change/{number} {commits[number % len(commits)]}\n" for number in range(MANY_REFS))
    git("-C", str(source.path), "update-ref", "--stdin", stdin="".join(lines).encode())
    git("-C", str(source.path), "pack-refs", "--all")
    rows = Rows("many refs", servers, gaps, directory / "place")
    app = f"refs{next(_apps)}"
    try:
        for server in servers:
            source.push(server.make(app), "--mirror")
            if server.root is not None:
                git("-C", str(server.root / app), "pack-refs", "--all")
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


def named(variable: str, known: tuple[str, ...]) -> list[str]:
    return [name for name in os.environ.get(variable, ",".join(known)).split(",") if name in known]


def compare(servers: list[Server], gaps: Gaps, directory: Path) -> Iterator[str]:
    rounds = measuring.rounds(ROUNDS)
    wanted = named("DEPLOYD_BENCH_OPERATIONS", OPERATIONS)
    (pid,) = (server.pid for server in servers if server.name == OURS)
    notes = ["", "| memory of the hub, MB | main process | workers |", "| --- | --- | --- |"]
    notes.append("| at the start | {:.0f} | {:.0f} |".format(*memory(pid)))
    yield HEAD
    for name in named("DEPLOYD_BENCH_REPOSITORIES", tuple(SHAPES)):
        place = directory / name
        place.mkdir()
        rows = Rows(name, servers, gaps, place / "place")
        comparison = Comparison(name, Source.of(name, place / "source.git"), servers, rows)
        try:
            comparison.start(place)
        except RuntimeError as error:
            yield unmeasured(name, error)
            continue
        for _ in range(rounds):
            comparison.one_round(wanted)
        yield from rows.lines()
        notes.append("| after {} | {:.0f} | {:.0f} |".format(name, *memory(pid)))
    if "refs" in wanted:
        yield from many_refs(servers, gaps, directory, rounds)
    yield from notes


def run(directory: Path) -> Iterator[str]:
    missing = git_servers.missing()
    if missing:
        yield f"The hub beside git http-backend: not measured, {', '.join(missing)} is not installed"
        return
    yield f"The hub beside git http-backend behind lighttpd, median of {measuring.rounds(ROUNDS)} rounds, CPU the mean"
    yield ""
    directory.mkdir(exist_ok=True)
    with ExitStack() as stack:
        theirs = stack.enter_context(git_servers.lighttpd(directory / "lighttpd"))
        ours = stack.enter_context(git_servers.hub(directory / "hub"))
        gaps = stack.enter_context(git_gaps.asking(int(ours.url.rpartition(":")[2])))
        yield from compare([theirs, ours], gaps, directory)
