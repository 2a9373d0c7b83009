"""Waiting until what was asked of instances is so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from deployd.cli.cluster import Cluster, Row
from deployd.cli.last_lines import last_lines
from deployd.cli.rendering import cell, indented
from deployd.wire.control import Restart, Spawn, Stop
from deployd.wire.documents import dump

FAILED = 1
LATE = 3
# Of so many that fail alike the output is shown.
MAX_TAILS = 5
# It runs no more, or not yet again.
DOWN = ("backoff", "failed")


@frozen
class Settled:
    """What happened: ``done`` and ``undone`` as sentences, ``document`` for ``--json``."""

    done: tuple[str, ...]
    undone: tuple[str, ...]
    document: dict[str, Any]
    exit_code: int


@frozen
class _Fate:
    """What became of one instance: ``word`` is "" as long as that is open."""

    word: str
    sentence: str = ""
    code: int = 0


_OPEN = _Fate("")


async def stopping(cluster: Cluster, ids: Sequence[str]) -> Settled:
    """Stop these instances; raise UnknownInstance."""
    await cluster.call(Stop, ids=list(ids))

    def fate(row: Row | None, name: str) -> _Fate:
        if row is None or row["state"] == "stopped":
            return _Fate("stopped", f"{name} is stopped")
        if row["state"] == "away":
            return _Fate("away", f"{drone_of(row)} is away; {name} will stop when it returns")
        return _OPEN

    return await _instances(cluster, ids, fate, "is not stopped yet; it will be, nothing more is needed")


async def restarting(cluster: Cluster, ids: Sequence[str]) -> Settled:
    """Restart these instances; raise UnknownInstance. One that does not become ready is a failure (exit 1)."""
    generations: Mapping[str, int] = (await cluster.call(Restart, ids=list(ids)))["generations"]

    def fate(row: Row | None, name: str) -> _Fate:
        if row is None:
            return _Fate("gone", f"{name} was taken down meanwhile", FAILED)
        if row["state"] == "away":
            return _Fate("away", f"{drone_of(row)} is away; {name} will start anew when it returns")
        if row.get("generation", 0) < generations.get(name, 0):
            return _OPEN
        if row["state"] == "ready":
            return _Fate("ready", f"{name} runs anew")
        return _down(row, name) if row["state"] in DOWN else _OPEN

    return await _instances(cluster, ids, fate, "is not ready yet; its drone goes on trying")


@frozen
class Process:
    """What somebody wants to be added to a release."""

    app: str
    commit: str
    drones: tuple[str, ...]
    role: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


async def spawning(cluster: Cluster, process: Process) -> Settled:
    """Add a process to a release; raise UnknownApp, UnknownCommit, UnknownDrone, Refused. As ``restarting`` it fails
    where it does not become ready."""
    answer = await cluster.call(
        Spawn,
        app=process.app,
        commit=process.commit,
        drones=list(process.drones),
        role=process.role,
        argv=list(process.argv),
        env=dump(dict(process.env)),
    )
    drones = {id: drone for drone, id in answer["ids"].items()}

    def fate(row: Row | None, name: str) -> _Fate:
        if row is None:
            return _Fate("gone", f"{name} was taken down meanwhile", FAILED)
        if row["state"] == "away":
            return _Fate("away", f"{drone_of(row)} is away; {name} will start when it returns")
        if row["state"] == "ready":
            return _Fate("ready", f"{name} runs on {drone_of(row)}")
        return _down(row, name) if row["state"] in DOWN else _OPEN

    settled = await _instances(cluster, list(drones), fate, "is not ready yet; its drone goes on trying")
    rows = [{**row, "drone": drones[row["id"]]} for row in settled.document["instances"]]
    document = {"app": process.app, "commit": answer["commit"], "release": answer["release"], "instances": rows}
    return evolve(settled, document=document)


def _down(row: Row, name: str) -> _Fate:
    """That an instance does not run, though it should."""
    reason = cell(row.get("reason")) or "it ended"
    then = "" if row["state"] == "failed" else "; its drone goes on trying"
    return _Fate(str(row["state"]), f"{name} does not come up: {reason}{then}", FAILED)


async def _instances(
    cluster: Cluster, ids: Sequence[str], fate: Callable[[Row | None, str], _Fate], late: str
) -> Settled:
    """Watch the hub's rows until each of ``ids`` has its fate, or the deadline."""
    while True:
        listed, revision = await cluster.listing("instances")
        rows = {row["id"]: row for row in listed}
        fates = {name: fate(rows.get(name), name) for name in dict.fromkeys(ids)}
        if all(known.word for known in fates.values()) or not await cluster.change(revision):
            break
    for name, known in fates.items():
        if not known.word:
            fates[name] = _Fate(str(rows[name]["state"]), f"{name} {late}", LATE)
    failed = [name for name, known in fates.items() if known.code == FAILED and name in rows]
    for name in failed[:MAX_TAILS]:
        tail = indented(await last_lines(cluster, rows[name]))
        fates[name] = evolve(fates[name], sentence="\n".join(filter(None, (fates[name].sentence, tail))))
    return Settled(
        done=tuple(known.sentence for known in fates.values() if not known.code),
        undone=tuple(known.sentence for known in fates.values() if known.code),
        document={"instances": [{"id": name, "state": known.word} for name, known in fates.items()]},
        exit_code=max(known.code for known in fates.values()),
    )


def drone_of(row: Row) -> str:
    return cell(row.get("drone"))
