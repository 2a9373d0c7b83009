"""One row of the port table."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

Ports = dict[str, dict[str, list[dict[str, str | int]]]]


@frozen
class Registration:
    """A process that listens.

    ``namespace`` is the commit for what drones run; ``owner`` is the identity (a UUID) of whoever may change the row;
    ``revision`` is the registry's number when the row last changed (0 until the registry has taken it).
    """

    id: str
    namespace: str
    role: str
    host: str
    port: int
    app: str = ""
    release: str = ""
    drone: str = ""
    version: str = ""
    meta: dict[str, str] = field(factory=dict, hash=False)
    owner: str = ""
    revision: int = 0


def port_table(rows: Iterable[Registration]) -> Ports:
    """``{COMMIT: {ROLE: [{"host": H, "port": N}]}}``, all sorted (docs/reference, ``ports --json``)."""
    table: Ports = {}
    for row in sorted(rows, key=lambda row: (row.namespace, row.role, row.host, row.port)):
        table.setdefault(row.namespace, {}).setdefault(row.role, []).append({"host": row.host, "port": row.port})
    return table
