"""The rows of a comparison of two git servers: operations that are done with both in turn, and what was used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median

from attrs import define, field

from benchmarks.git_gaps import Gaps, Worst
from benchmarks.git_processes import Used, watched
from benchmarks.git_servers import OURS, THEIRS, Server

_COLUMNS = (
    *(
        "repository",
        "operation",
        "git s",
        "hub s",
        "of git's",
        "git CPU s",
        "hub CPU s",
        "of git's",
        "git MB",
        "hub MB",
    ),
    *("slowest answer, ms", "busy before it", "of an idle process"),
)
HEAD = f"| {' | '.join(_COLUMNS)} |\n{'| --- ' * len(_COLUMNS)}|"
# So long may the reactor do one thing.
REACTOR_MS = 20
# What is done with a server, and with an empty directory that is for this alone.
Act = Callable[[Server, Path], None]


def unmeasured(what: str, problem: object) -> str:
    return f"| {what} | {' '.join(str(problem).split())} |"


def usual(values: Iterable[float]) -> float:
    """The mean without the largest and the smallest: one of them may have the upkeep after a push in it, and what can
    be read of a process is too coarse for a median."""
    ordered = sorted(values)
    return mean(ordered[1:-1] or ordered)


def nothing(server: Server, place: Path) -> None:
    """There is nothing to prepare."""


@define(frozen=True)
class Operation:
    """``wall`` and ``cpu`` are allowed, as ratios to the other's; ``prepare`` is not measured."""

    name: str
    wall: float
    act: Act
    prepare: Act = nothing
    cpu: float = 0.0


@define
class Row:
    """``worst``: how long the hub left a small request alone meanwhile."""

    repository: str
    operation: Operation
    used: dict[str, list[Used]] = field(factory=lambda: {THEIRS: [], OURS: []})
    worst: list[Worst] = field(factory=list)
    problem: str = ""

    def line(self) -> str:
        if self.problem:
            return unmeasured(f"{self.repository} | {self.operation.name}", self.problem)
        theirs, ours = self.used[THEIRS], self.used[OURS]
        walls = [median(used.wall for used in each) for each in (theirs, ours)]
        cpus = [usual(used.cpu for used in each) for each in (theirs, ours)]
        peaks = [max(used.peak for used in each) for each in (theirs, ours)]
        of_cpu = f"{cpus[1] / cpus[0]:.2f}" if cpus[0] else "-"
        allowed_cpu = f" (<= {self.operation.cpu})" if self.operation.cpu else ""
        hub, busy, idle = map(max, zip(*self.worst, strict=True))
        return (
            f"| {self.repository} | {self.operation.name} | {walls[0]:.3f} | {walls[1]:.3f} |"
            f" {walls[1] / walls[0]:.2f} (<= {self.operation.wall}) | {cpus[0]:.2f} | {cpus[1]:.2f} |"
            f" {of_cpu}{allowed_cpu} | {peaks[0]:.0f} | {peaks[1]:.0f} |"
            f" {hub:.0f} | {busy:.0f} (<= {REACTOR_MS}) | {idle:.0f} |"
        )


@define
class Rows:
    """Of one repository. What goes wrong with an operation is its row, and ends only that."""

    repository: str
    servers: list[Server]
    gaps: Gaps
    place: Path
    rows: dict[str, Row] = field(factory=dict)

    def measure(self, operation: Operation) -> None:
        """Once with each of the servers; the one that was last is the first the next time."""
        row = self.rows.setdefault(operation.name, Row(self.repository, operation))
        self.servers.reverse()
        for server in self.servers:
            try:
                self._measure(row, operation, server)
            except RuntimeError as error:
                row.problem = row.problem or f"{server.name}: {error}"

    def _measure(self, row: Row, operation: Operation, server: Server) -> None:
        self.place.mkdir()
        try:
            operation.prepare(server, self.place)
            self.gaps.read()
            with watched(server.pid) as used:
                operation.act(server, self.place)
            row.used[server.name].append(used)
            if server.name == OURS:
                row.worst.append(self.gaps.read())
        finally:
            shutil.rmtree(self.place)

    def lines(self) -> list[str]:
        return [row.line() for row in self.rows.values()]
