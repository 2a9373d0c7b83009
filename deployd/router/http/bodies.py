"""The bodies of messages as they come in, each knowing where it ends.

``feed(data)`` gives what of the body is in ``data``; when ``done``, ``rest`` is what follows the body.
"""

from __future__ import annotations

import re

from deployd.router.http.fields import NOT_IN_TRAILERS, is_forwarded

# A chunk's first line with its extensions, and all trailers together.
MAX_CHUNK_LINE = 4096
MAX_TRAILERS = 16384
MAX_TRAILER_FIELDS = 64

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[^\x00-\x08\x0a-\x1f\x7f]*")
END = b"0\r\n\r\n"


class BadBody(Exception):
    """The chunks are none."""


class Length:
    """A body of a known number of bytes."""

    __slots__ = ("done", "left", "rest")
    trailers: tuple[bytes, ...] = ()

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        left = self.left - len(data)
        if left > 0:
            self.left = left
            return data
        self.done = True
        if left < 0:
            data, self.rest = data[: self.left], data[self.left :]
        self.left = 0
        return data


class UntilClose:
    """A body that ends with its connection."""

    __slots__ = ("done", "rest")
    trailers: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        return data


class Chunked:
    """A body in chunks; extensions are read over, forbidden trailers left out."""

    __slots__ = ("_buffer", "_left", "_trailer_bytes", "_trailing", "done", "rest", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.trailers: tuple[bytes, ...] = ()
        self._buffer = b""
        # Of the present chunk, its CRLF included; 0: a chunk's first line comes.
        self._left = 0
        self._trailing = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Raise BadBody."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._left:
                at = self._chunk(data, at, pieces)
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._wait(data[at:])
                break
            line = data[at:end]
            at = end + 2
            if self._trailing:
                if self._trailer(line):
                    self.done = True
                    self.rest = data[at:]
                    break
            else:
                self._first_line(line)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take what there is of the present chunk; the place where it ends."""
        taken = min(self._left, len(data) - at)
        of_chunk = min(taken, self._left - 2)
        if of_chunk > 0:
            pieces.append(data[at : at + of_chunk])
        ending = data[at + max(of_chunk, 0) : at + taken]
        if ending and ending != b"\r\n"[2 - self._left + max(of_chunk, 0) :][: len(ending)]:
            raise BadBody
        self._left -= taken
        return at + taken

    def _first_line(self, line: bytes) -> None:
        matched = _SIZE.fullmatch(line)
        if matched is None or len(line) > MAX_CHUNK_LINE:
            raise BadBody
        size = int(matched[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailing = True

    def _trailer(self, line: bytes) -> bool:
        """Whether that was the end."""
        if not line:
            return True
        matched = _TRAILER.fullmatch(line)
        self._trailer_bytes += len(line)
        if matched is None or self._trailer_bytes > MAX_TRAILERS or len(self.trailers) >= MAX_TRAILER_FIELDS:
            raise BadBody
        name = matched[1].lower().replace(b"_", b"-")
        if name not in NOT_IN_TRAILERS and not is_forwarded(name):
            self.trailers += (line,)
        return False

    def _wait(self, line: bytes) -> None:
        """Keep the beginning of a line, unless it can be none."""
        if b"\n" in line or b"\r" in line[:-1] or len(line) > MAX_TRAILERS:
            raise BadBody
        if not self._trailing and len(line) > MAX_CHUNK_LINE:
            raise BadBody
        self._buffer = line


Body = Length | UntilClose | Chunked


def chunk(data: bytes) -> bytes:
    """``data``, not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: tuple[bytes, ...]) -> bytes:
    """The end of a body in chunks."""
    return END if not trailers else b"0\r\n" + b"\r\n".join(trailers) + b"\r\n\r\n"
