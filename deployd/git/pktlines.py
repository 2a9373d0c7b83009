"""Git's pkt-lines: four hex digits of length, then content; ``0000`` is a flush."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO

from deployd.git.problems import BadRequest

MAX_LINE = 65520
FLUSH, DELIMITER = b"0000", b"0001"
ZERO = b"0" * 40
"""Stands where there is no id."""
SIDEBAND_DATA, SIDEBAND_PROGRESS, SIDEBAND_ERROR = 1, 2, 3
_CUT_SHORT = "the request ends in the middle of a line"


class Mark(Enum):
    """What stands between the lines of a request."""

    FLUSH = FLUSH
    DELIMITER = DELIMITER


def line(content: bytes) -> bytes:
    """``content`` as one pkt-line."""
    return b"%04x%b" % (len(content) + 4, content)


def sideband(channel: int, content: bytes) -> bytes:
    """``content`` as side-band-64k pkt-lines on ``channel``."""
    step = MAX_LINE - 5
    return b"".join(line(bytes([channel]) + content[at : at + step]) for at in range(0, len(content), step))


def read_line(stream: BinaryIO) -> bytes | None:
    """The next pkt-line's content; None for a flush. Raise BadRequest when there is no pkt-line."""
    head = stream.read(4)
    if head == FLUSH:
        return None
    size = _size(head)
    content = stream.read(size - 4)
    if len(content) != size - 4:
        raise BadRequest(_CUT_SHORT)
    return content


def read_lines(data: bytes) -> Iterator[bytes | Mark]:
    """The contents of all pkt-lines of ``data``, without their newlines, and the marks between them.

    Raise BadRequest when there is anything else.
    """
    position, end = 0, len(data)
    while position < end:
        head = data[position : position + 4]
        if head in (FLUSH, DELIMITER):
            yield Mark(head)
            position += 4
            continue
        size = _size(head)
        if position + size > end:
            raise BadRequest(_CUT_SHORT)
        yield data[position + 4 : position + size].removesuffix(b"\n")
        position += size


def _size(head: bytes) -> int:
    """The bytes of the line that begins with ``head``, these four included."""
    try:
        size = int(head, 16) if len(head) == 4 and head.isalnum() else -1
    except ValueError:
        size = -1
    if not 4 <= size <= MAX_LINE:
        raise BadRequest("the request is not in git's pkt-line format")
    return size
