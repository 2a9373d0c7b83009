"""What is done with one repository on two git servers, in turn: clones, pushes, fetches of what was pushed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from attrs import define, field

from benchmarks import git_gaps, git_servers
from benchmarks.git_gaps import Gaps
from benchmarks.git_processes import settled
from benchmarks.git_repositories import MAIN
from benchmarks.git_rows import Operation, Rows
from benchmarks.git_servers import Server, git, git_processes
from benchmarks.git_source import Source

OPERATIONS = ("clone", "newest", "drones", "cold", "everything", "clones")
DRONES = (8, 50)
CLONES = 8
# Who pushes everything to a large repository may wait longer.
EVERYTHING = {"large": 2.5}
_apps = count(1)


@contextmanager
def both(directory: Path) -> Iterator[tuple[list[Server], Gaps]]:
    """git http-backend and a hub, and how long the hub keeps others waiting meanwhile."""
    directory.mkdir(exist_ok=True)
    with (
        git_servers.lighttpd(directory / "lighttpd") as theirs,
        git_servers.hub(directory / "hub") as ours,
        git_gaps.asking(int(ours.url.rpartition(":")[2]), ours.pid) as gaps,
    ):
        yield [theirs, ours], gaps


@define
class Comparison:
    """One repository on both servers, as ``app``, and a client of each, in ``place``, that follows what is pushed."""

    name: str
    source: Source
    servers: list[Server]
    rows: Rows
    place: Path
    app: str = field(init=False, factory=lambda: f"app{next(_apps)}")

    @classmethod
    def of(cls, name: str, servers: list[Server], gaps: Gaps, place: Path) -> Comparison:
        """Push the repository ``name`` to both; raise RuntimeError if one does not take it."""
        place.mkdir()
        rows = Rows(name, servers, gaps, place / "place")
        comparison = cls(name, Source.of(name, place / "source.git"), servers, rows, place)
        for server in servers:
            comparison.source.push(server.make(comparison.app), "--mirror")
            settled(server.pid)
            git("clone", "-q", "--bare", str(comparison.source.path), comparison.follower(server))
        return comparison

    def follower(self, server: Server) -> str:
        return str(self.place / server.name.replace(" ", "-"))

    def one_round(self, wanted: Sequence[str]) -> None:
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
        """A new commit, which neither server has sent to anybody, and the only one that its follower lacks."""
        for server in self.servers:
            git("-C", self.follower(server), "fetch", "-q", str(self.source.path), f"+{MAIN}:{MAIN}")
        self.source.commit()
        self.rows.measure(Operation("push of one commit", 1.3, lambda server, _: self.source.push(self.url(server))))

    def url(self, server: Server) -> str:
        """Of the repository."""
        return f"{server.url}/{self.app}"

    def clone(self, server: Server, place: Path) -> None:
        git("clone", "-q", "--bare", self.url(server), str(place / "clone"))

    def clone_often(self, server: Server, place: Path) -> None:
        clone = ("clone", "-q", "--bare", self.url(server))
        git_processes([(*clone, str(place / str(number))) for number in range(CLONES)])

    def fetch_newest(self, server: Server, place: Path) -> None:
        git("-C", self.follower(server), "fetch", "-q", self.url(server), f"{MAIN}:{MAIN}")

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
        place.joinpath("url").write_text(server.make(f"app{next(_apps)}"))

    def push_everything(self, server: Server, place: Path) -> None:
        self.source.push(place.joinpath("url").read_text(), "--mirror")
