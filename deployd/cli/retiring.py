"""Taking releases down, emptying machines: ask, then wait until nothing of it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen

from deployd.cli.cluster import MAX_PAGES, Cluster, Row
from deployd.cli.rendering import cell, counted, named_release
from deployd.cli.settling import LATE, Settled, drone_of
from deployd.wire.control import DrainDrone, Retire, RetireUnused

NAMED = 5
# Of these, a machine that is emptied is not rid: nobody knows them, and `stop` ends them.
ORPHAN = "orphan"


@frozen
class Left:
    """What still runs of what is to go: ``here`` on drones that are there, ``away`` on others."""

    here: tuple[Row, ...]
    away: tuple[Row, ...]

    def drones_away(self) -> list[str]:
        return sorted({drone_of(row) for row in self.away})

    def sentence(self) -> str:
        """What is waited for, with what the hub says of it."""
        named = [_waited_for(row) for row in self.here[:NAMED]]
        more = len(self.here) - len(named)
        return ", ".join([*named, f"and {more} more"] if more else named)


async def retiring(cluster: Cluster, app: str, commit: str) -> Settled:
    """Retire a release and wait for the drones that are there; raise UnknownApp, UnknownCommit, Refused."""
    answer = await cluster.call(Retire, app=app, commit=commit)
    release = answer["release"]
    title = named_release(app, release, answer["commit"])
    left = await _gone(cluster, lambda row: True, app=app, commit=release)
    away = left.drones_away()
    done = [] if left.here else [f"{title} is retired"]
    if away:
        done.append(f"away, and told when they return: {', '.join(away)}")
    document = {
        "app": app,
        "commit": answer["commit"],
        "release": release,
        "state": "retiring" if left.here or away else "retired",
        "away": away,
    }
    return Settled(tuple(done), _late(title, left), document, LATE if left.here else 0)


async def unused(cluster: Cluster, app: str, dry_run: bool) -> list[Row]:
    """A row for each release, why it goes or stays; those that go are going unless ``dry_run``. Raise UnknownApp."""
    found: list[Row] = []
    after = ""
    for _ in range(MAX_PAGES):
        page = await cluster.call(RetireUnused, app=app, dry_run=dry_run, after=after)
        found += page["rows"]
        after = page["next"]
        if not after:
            break
    return found


async def retiring_unused(cluster: Cluster, app: str, dry_run: bool, told: Callable[[Sequence[Row]], None]) -> Settled:
    """Retire what nobody uses, tell the rows at once, and wait until it is down."""
    rows = await unused(cluster, app, dry_run)
    told(rows)
    going = {(row["app"], row["release"]) for row in rows if row["goes"]}
    if dry_run or not going:
        sentence = f"{counted(len(going), 'release')} would go" if dry_run else "nothing goes"
        return Settled((sentence,), (), {"releases": rows, "dry_run": dry_run, "away": []}, 0)
    left = await _gone(cluster, lambda row: (row["app"], row["release"]) in going, app=app)
    still = {(row["app"], row["release"]) for row in left.here}
    away = left.drones_away()
    done = [f"{counted(len(going - still), 'release')} retired"]
    if away:
        done.append(f"away, and told when they return: {', '.join(away)}")
    undone = _late(counted(len(still), "release"), left, many=len(still) != 1)
    document = {"releases": rows, "dry_run": False, "away": away}
    return Settled(tuple(done), undone, document, LATE if left.here else 0)


async def draining(cluster: Cluster, drone: str, force: bool) -> Settled:
    """Empty a machine and wait until nothing runs there; raise UnknownDrone, Refused."""
    await cluster.call(DrainDrone, name=drone, drain=True, force=force)
    left = await _gone(cluster, lambda row: row["state"] != ORPHAN, drone=drone)
    state = "draining" if left.here or left.away else "drained"
    document = {"drone": drone, "state": state, "away": bool(left.away)}
    if left.here:
        late = f"{drone} is not empty yet: waiting for {left.sentence()}; it will be, nothing more is needed"
        return Settled((), (late,), document, LATE)
    if left.away:
        return Settled((f"{drone} is away; that is saved, and it is emptied when it returns",), (), document, 0)
    return Settled((f"{drone} is empty; `deployctl undrain {drone}` uses it again",), (), document, 0)


async def undraining(cluster: Cluster, drone: str) -> Settled:
    """Use a machine again; raise UnknownDrone."""
    await cluster.call(DrainDrone, name=drone, drain=False, force=False)
    return Settled((f"{drone} is used again",), (), {"drone": drone, "state": "used"}, 0)


async def _gone(cluster: Cluster, meant: Callable[[Row], bool], **filters: str) -> Left:
    """Watch the hub's rows until nothing that is ``meant`` runs on drones that are there, or the deadline."""
    while True:
        listed, revision = await cluster.listing("instances", **filters)
        left = _left(row for row in listed if meant(row))
        if not left.here or not await cluster.change(revision):
            return left


def _left(rows: Iterable[Row]) -> Left:
    running = [row for row in rows if row["state"] != "stopped"]
    return Left(
        here=tuple(row for row in running if row["state"] != "away"),
        away=tuple(row for row in running if row["state"] == "away"),
    )


def _late(title: str, left: Left, many: bool = False) -> tuple[str, ...]:
    if not left.here:
        return ()
    is_not = "are not" if many else "is not"
    return (f"{title} {is_not} down everywhere yet: waiting for {left.sentence()}; it will be, nothing more is needed",)


def _waited_for(row: dict[str, Any]) -> str:
    reason = cell(row.get("reason"))
    return f"{cell(row.get('id'))} on {drone_of(row)} ({cell(row.get('state'))}{': ' + reason if reason else ''})"
