"""A row as JSON, quickly: an owner of many writes each once, and sends that text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json import JSONEncoder

from deployd.model.registration import Registration
from deployd.wire.paging import PAGE_BYTES
from deployd.wire.rows import document

_encode = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def row_text(row: Registration) -> bytes:
    """What ``codec.Structure(Registration)`` would write."""
    text = _encode(document(row))
    return text.encode("utf-8", "surrogatepass")


def rows_text(texts: Iterable[bytes]) -> bytes:
    """A list of rows, for an argument that is ``codec.Written``."""
    return b"[" + b",".join(texts) + b"]"


def text_pages(rows: Sequence[Registration]) -> list[bytes]:
    """``paging.pages`` of rows, as the lists' JSON."""
    result: list[bytes] = []
    page: list[bytes] = []
    size = 0
    for row in rows:
        text = row_text(row)
        if page and size + len(text) + 1 > PAGE_BYTES:
            result.append(rows_text(page))
            page, size = [], 0
        page.append(text)
        size += len(text) + 1
    return [*result, rows_text(page)]
