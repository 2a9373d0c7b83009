"""Messages between a git worker and the process that it works for: a JSON document, and bytes that go along."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from attrs import define, field

# Bytes of one document, and of what goes along with it: the refs of a repository that has as many as it may.
MAX_DOCUMENT = 4 << 20
MAX_BODY = 64 << 20
_HEAD = struct.Struct(">II")

Document = dict[str, Any]


class TooLong(Exception):
    """A message is longer than one may be."""


def packed(document: Document, body: bytes = b"") -> list[bytes]:
    """One message in pieces; raise TooLong."""
    text = json.dumps(document, separators=(",", ":")).encode()
    _check(len(text), len(body))
    return [_HEAD.pack(len(text), len(body)) + text, body] if body else [_HEAD.pack(len(text), 0) + text]


@define
class Unpacker:
    """Makes messages of pieces as they arrive."""

    _data: bytearray = field(init=False, factory=bytearray)

    def feed(self, data: bytes) -> Iterator[tuple[Document, bytes]]:
        """The messages that are whole with ``data``; raise TooLong."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            document, body = _HEAD.unpack_from(self._data)
            _check(document, body)
            begin, end = _HEAD.size + document, _HEAD.size + document + body
            if len(self._data) < end:
                return
            message = json.loads(self._data[_HEAD.size : begin]), bytes(self._data[begin:end])
            del self._data[:end]
            yield message


def _check(document: int, body: int) -> None:
    if document > MAX_DOCUMENT or body > MAX_BODY:
        raise TooLong(f"a message of {document} and {body} bytes")
