"""The documents of many rows, in parts that are made one at a time (deployd.registry.answers.Table)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any

from deployd.model.registration import Registration
from deployd.registry.filter import Near, RowFilter

# So many rows are put in order at once.
CHUNK = 500

_SEPARATORS = (",", ":")

Key = Callable[[Registration], tuple[Any, ...]]


def row_list(
    rows: Sequence[Registration], wanted: RowFilter, near: Near, document: Callable[[Registration], Any]
) -> Iterator[bytes]:
    """A list of the rows that ``wanted`` takes, those that are ``near`` first."""
    return _list(_documents(rows, wanted, near, document))


def _documents(
    rows: Sequence[Registration], wanted: RowFilter, near: Near, document: Callable[[Registration], Any]
) -> Iterator[bytes]:
    for is_near in (True, False) if near != Near() else (False,):
        for row in rows:
            taken = near.has(row) is is_near and wanted.takes(row)
            yield as_json(document(row)) if taken else b""


def port_lists(rows: Sequence[Registration], wanted: RowFilter) -> Iterator[bytes]:
    """``{COMMIT: {ROLE: [{"host": H, "port": N}]}}``, all sorted, as model.registration.port_table."""
    namespace = role = None
    yield b"{"
    for row in in_order(rows, wanted, lambda row: (row.namespace, row.role, row.host, row.port)):
        if row is None:
            yield b""
            continue
        if row.namespace != namespace:
            head = (
                (b"]}," if namespace is not None else b"") + as_json(row.namespace) + b":{" + as_json(row.role) + b":["
            )
        elif row.role != role:
            head = b"]," + as_json(row.role) + b":["
        else:
            head = b","
        namespace, role = row.namespace, row.role
        yield head + as_json({"host": row.host, "port": row.port})
    yield b"]}}\n" if namespace is not None else b"}\n"


def groups(
    rows: Sequence[Registration],
    wanted: RowFilter,
    key: Key,
    document: Callable[[list[Registration]], Any],
) -> Iterator[bytes]:
    """A list with what ``document`` makes of all rows with the same ``key``, or leaves out (None)."""
    return _list(_grouped(rows, wanted, key, document))


def _grouped(
    rows: Sequence[Registration],
    wanted: RowFilter,
    key: Key,
    document: Callable[[list[Registration]], Any],
) -> Iterator[bytes]:
    alike: list[Registration] = []
    for row in in_order(rows, wanted, key):
        made = None
        if row is not None and alike and key(row) != key(alike[0]):
            made, alike = document(alike), []
        if row is not None:
            alike.append(row)
        yield b"" if made is None else as_json(made)
    made = document(alike) if alike else None
    yield b"" if made is None else as_json(made)


def in_order(rows: Sequence[Registration], wanted: RowFilter, key: Key) -> Iterator[Registration | None]:
    """The rows that ``wanted`` takes, by ``key``; None while there is none to give yet."""
    chunks: list[list[Registration]] = []
    chunk: list[Registration] = []
    for row in rows:
        if wanted.takes(row):
            chunk.append(row)
        if len(chunk) == CHUNK:
            chunks.append(sorted(chunk, key=key))
            chunk = []
        yield None
    yield from merge(*chunks, sorted(chunk, key=key), key=key)


def _list(documents: Iterable[bytes]) -> Iterator[bytes]:
    start = b"["
    for document in documents:
        yield start + document if document else b""
        if document:
            start = b","
    yield b"]\n" if start == b"," else b"[]\n"


def as_json(value: Any) -> bytes:
    """Pure ASCII, so that any text in it, lone surrogates too, can be written."""
    return json.dumps(value, separators=_SEPARATORS).encode("ascii")
