"""Rows as they are saved and handed to workers: lists of what matters to a router, as there may be 100,000."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from deployd.errors import Malformed
from deployd.model.registration import Registration
from deployd.wire.documents import dump
from deployd.wire.paging import PAGE_BYTES

Fields = list[str | int]


def fields_of(row: Registration) -> Fields:
    return [row.id, row.namespace, row.role, row.host, row.port, row.app, row.release, row.owner]


def row_of(fields: Any) -> Registration:
    """The row of what ``fields_of`` gave; raise Malformed."""
    if not isinstance(fields, list) or len(fields) != 8 or type(fields[4]) is not int:
        raise Malformed("a row is a list of its fields")
    if not all(type(field) is str for field in (*fields[:4], *fields[5:])):
        raise Malformed("a row's fields are text")
    id, namespace, role, host, port, app, release, owner = fields
    return Registration(id, namespace, role, host, port, app=app, release=release, owner=owner)


def row_pages(rows: Iterable[Registration]) -> Iterator[list[Fields]]:
    """``rows`` in messages' sizes, made as they are asked for."""
    page: list[Fields] = []
    size = 0
    for row in rows:
        fields = fields_of(row)
        length = len(dump(fields)) + 1
        if page and size + length > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(fields)
        size += length
    if page:
        yield page
