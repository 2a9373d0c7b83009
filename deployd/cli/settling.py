"""Waiting until what was asked of instances is so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from deployd.cli.cluster import Cluster, Row
from deployd.cli.rendering import cell
from deployd.wire.control import Restart, Stop

FAILED = 1
LATE = 3


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
        if row["state"] == "backoff":
            reason = cell(row.get("reason")) or "it ended"
            return _Fate("backoff", f"{name} does not come up: {reason}; its drone goes on trying", FAILED)
        return _OPEN

    return await _instances(cluster, ids, fate, "is not ready yet; its drone goes on trying")


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
    return Settled(
        done=tuple(known.sentence for known in fates.values() if not known.code),
        undone=tuple(known.sentence for known in fates.values() if known.code),
        document={"instances": [{"id": name, "state": known.word} for name, known in fates.items()]},
        exit_code=max(known.code for known in fates.values()),
    )


def drone_of(row: Row) -> str:
    return cell(row.get("drone"))
