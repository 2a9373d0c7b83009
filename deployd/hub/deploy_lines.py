"""A deploy as its pusher reads it, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployd.hub.deploys import Standing
from deployd.model.release import DroneStatus, Release

MAX_ROWS = 20
MAX_TAILS = 3
TAIL_LINES = 20
_WELL = ("ready", "nothing")


def title(release: Release) -> str:
    """``webapp v2 (74336bc)``."""
    return f"{release.app} {release.name} ({release.commit[:7]})"


def watching(release: Release) -> str:
    """How a deploy goes on without its pusher."""
    return f"{title(release)} is being deployed; `deployctl releases {release.app}` says how that ends"


def news(told: dict[str, str], rows: Sequence[DroneStatus]) -> Iterator[str]:
    """A line for each drone that stands otherwise than was ``told``, which is brought up to date."""
    for row in rows:
        line = _drone(row)
        if told.get(row.drone) != line:
            told[row.drone] = line
            yield line


def ending(release: Release, standing: Standing) -> Iterator[str]:
    """How it ended; for those that did not come up, their last lines."""
    rows = [row for row in standing.drones if row.state not in _WELL]
    if standing.state == "deployed":
        count, ready = len(standing.drones), len(standing.drones) - len(rows)
        yield f"{title(release)} is deployed: {ready} of {count} {'drone' if count == 1 else 'drones'} ready"
    elif standing.state == "failed":
        yield f"{title(release)} failed: {one_line(standing.reason)}"
    else:
        yield f"{title(release)} was taken down meanwhile ({standing.state})"
    tails = MAX_TAILS
    for row in rows[:MAX_ROWS]:
        yield _drone(row)
        if row.tail.strip() and tails:
            tails -= 1
            yield from (f"  | {one_line(line)}" for line in row.tail.rstrip().split("\n")[-TAIL_LINES:])
    if len(rows) > MAX_ROWS:
        yield f"and {len(rows) - MAX_ROWS} more drones; `deployctl ps {release.app}` lists what there is"


def one_line(text: str) -> str:
    """``text`` without what would move a terminal's cursor or colours; apps and drones wrote it."""
    spaced = text.replace("\n", " ").replace("\t", " ")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in spaced)


def _drone(row: DroneStatus) -> str:
    return f"{row.drone}: {row.state}" + (f": {one_line(row.reason)}" if row.reason else "")
