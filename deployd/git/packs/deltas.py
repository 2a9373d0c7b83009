"""Deltas: the sizes and instructions of which they are made, and applying one in pieces.

A delta is two sizes, that of its base and that of what it makes, then instructions: bytes to insert, or what to copy
from where in the base. What fits into memory dulwich's ``apply_delta`` makes at once; what is larger is made here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from deployd.git.packs.entries import Buffer
from deployd.git.problems import BadPack

_MISFIT = "a delta of the pack does not fit its base"
_LONGEST_COPY = 0x10000
_HEAD, _STEP = 32, 256


def delta_sizes(head: bytes | Buffer) -> tuple[int, int, int]:
    """(base size, result size, position of the instructions) of a delta, from its first bytes.

    Raise BadPack when they are not there.
    """
    base, position = _varint(head, 0)
    result, position = _varint(head, position)
    return base, result, position


def made_size(buffer: Buffer, position: int, end: int) -> int:
    """The size of what the delta that is deflated at ``position`` makes; only its first bytes are inflated."""
    inflater, head = zlib.decompressobj(), b""
    try:
        # The tables before the first byte may be longer than many a delta.
        while len(head) < _HEAD and not inflater.eof and position < end:
            piece = buffer[position : min(position + _STEP, end)]
            position += len(piece)
            head += inflater.decompress(piece, _HEAD - len(head))
    except zlib.error as error:
        raise BadPack("an object of the pack is damaged") from error
    return delta_sizes(head)[1]


def instruction(delta: Buffer, position: int) -> tuple[int, int, int]:
    """(start in the base, length, position behind it) of the instruction at ``position``; raise BadPack.

    A start of -1 stands for the delta's own bytes, those just before the position behind it.
    """
    try:
        operation = delta[position]
        position += 1
        if not operation & 0x80:
            if not operation or position + operation > len(delta):
                raise BadPack(_MISFIT)
            return -1, operation, position + operation
        start = length = 0
        for bit in range(4):
            if operation & 1 << bit:
                start |= delta[position] << 8 * bit
                position += 1
        for bit in range(3):
            if operation & 0x10 << bit:
                length |= delta[position] << 8 * bit
                position += 1
    except IndexError as error:
        raise BadPack(_MISFIT) from error
    return start, length or _LONGEST_COPY, position


def delta_pieces(
    base: Buffer, delta: Buffer, spend: Callable[[], object] = lambda: None
) -> Iterator[bytes | memoryview]:
    """What a delta makes of ``base``, in pieces that are good until the next one; BadPack is raised if it does not fit.

    ``spend`` is called for each.
    """
    base_size, size, position = delta_sizes(delta)
    produced = 0
    with memoryview(base) as view:
        if base_size != len(view):
            raise BadPack(_MISFIT)
        while position < len(delta):
            spend()
            start, length, position = instruction(delta, position)
            piece = delta[position - length : position] if start < 0 else view[start : start + length]
            produced += length
            if len(piece) != length or produced > size:
                raise BadPack(_MISFIT)
            yield piece
            if isinstance(piece, memoryview):
                piece.release()
    if produced != size:
        raise BadPack(_MISFIT)


def _varint(data: bytes | Buffer, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 63:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position
    raise BadPack("a delta of the pack has no sizes")
