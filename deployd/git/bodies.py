"""Request bodies as plain streams: git gzips some, and a gzip may be a bomb."""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO, cast

from deployd.git.problems import BadRequest

_PIECE = 65536


def plain_body(content: Any, encoding: bytes, limit: int) -> BinaryIO:
    """``content`` from its beginning, gunzipped when ``encoding`` says so; at most ``limit`` plain bytes.

    Reading raises BadRequest for a broken or oversized gzip.
    """
    content.seek(0)
    if encoding in (b"", b"identity"):
        return cast(BinaryIO, content)
    if encoding not in (b"gzip", b"x-gzip"):
        raise BadRequest("the request has a content encoding other than gzip")
    return cast(BinaryIO, io.BufferedReader(_Gunzip(content, limit), _PIECE))


def read_limited(stream: BinaryIO, limit: int) -> bytes:
    """All of ``stream``; raise BadRequest when it has more than ``limit`` bytes."""
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise BadRequest(f"the request has more than {limit} bytes")
    return content


class _Gunzip(io.RawIOBase):
    """Inflates piece by piece, never more than is asked for."""

    def __init__(self, source: Any, limit: int) -> None:
        self._source = source
        self._room = limit
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._rest = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as one piece goes; 0 at the end."""
        while not self._inflater.eof:
            self._rest = self._rest or self._source.read(_PIECE)
            ended = not self._rest
            try:
                piece = self._inflater.decompress(self._rest, len(buffer))
            except zlib.error as error:
                raise BadRequest("the request's gzip encoding is damaged") from error
            self._rest = self._inflater.unconsumed_tail
            if piece:
                self._room -= len(piece)
                if self._room < 0:
                    raise BadRequest("the request is too large once it is unpacked")
                buffer[: len(piece)] = piece
                return len(piece)
            if ended:
                raise BadRequest("the request's gzip encoding is cut short")
        if self._inflater.unused_data:
            raise BadRequest("the request goes on after its gzip encoding")
        return 0
