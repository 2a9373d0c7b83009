"""Changes of the port table as text, and back: a short JSON list each, quick to read a hundred thousand of."""

from __future__ import annotations

from json import dumps, loads
from sys import intern
from typing import Any

from deployd.model.registration import Registration
from deployd.model.row_change import RowChange

_FREED, _MORE = 1, 2


def change_text(change: RowChange) -> str:
    """Pure ASCII, so that lone surrogates in metadata are kept too."""
    row = change.row
    flags = (_FREED if change.freed else 0) | (_MORE if change.more else 0)
    # Of a row that was put, the revision is the change's number.
    fields = [
        flags,
        row.revision if change.freed else 0,
        row.id,
        row.namespace,
        row.role,
        row.host,
        row.port,
        row.app,
        row.release,
        row.drone,
        row.version,
        row.meta,
        row.owner,
    ]
    return dumps(fields, separators=(",", ":"))


def change_of(number: int, fields: list[Any]) -> RowChange:
    """The change ``number`` of a text's ``fields``; raise an exception of any kind for what is none.

    Names that many rows have in common are held once (``sys.intern``).
    """
    flags, revision, id, namespace, role, host, port, app, release, drone, version, meta, owner = fields
    freed = bool(flags & _FREED)
    row = Registration(
        id,
        intern(namespace),
        intern(role),
        intern(host),
        port,
        intern(app),
        intern(release),
        intern(drone),
        intern(version),
        meta,
        intern(owner),
        revision if freed else number,
    )
    return RowChange(number, row, freed, bool(flags & _MORE))


def changes_of(texts: list[tuple[int, str]]) -> list[RowChange]:
    """Several at once, which is quicker; raise an exception of any kind."""
    fields = loads(f"[{','.join(text for _, text in texts)}]")
    return [change_of(number, each) for (number, _), each in zip(texts, fields, strict=True)]
