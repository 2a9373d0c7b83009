"""Blobs that are too large to be in memory twice or three times: they are made piece by piece, into unnamed files."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from deployd.git.packs.entries import Buffer, inflate_into, inflated
from deployd.git.problems import BadPack

LARGE = 16 << 20
_MISFIT = "a delta of the pack does not fit its base"


def content_of(buffer: Buffer, position: int, end: int, size: int) -> Buffer:
    """The content of an entry of ``size`` bytes, in a file when it is large. Raise BadPack as ``inflated`` does."""
    if size <= LARGE:
        return inflated(buffer, position, end, size)
    return in_file(lambda write: inflate_into(buffer, position, end, size, write))


def in_file(make: Callable[[Callable[[bytes | memoryview], object]], object]) -> mmap.mmap:
    """What ``make`` writes, which is at least a byte, mapped; it is gone when nobody refers to it any more."""
    with tempfile.TemporaryFile() as file:
        make(file.write)
        file.flush()
        return _mapped(file)


def delta_pieces(base: Buffer, delta: Buffer, size: int, spend: Callable[[], object]) -> Iterator[bytes | memoryview]:
    """What a delta makes of ``base``, in pieces that are good until the next one: ``size`` bytes, or BadPack is raised.

    ``spend`` is called for each.
    """
    with memoryview(base) as view:
        position = _after_sizes(delta, len(view), size)
        produced = 0
        while position < len(delta):
            spend()
            start, length, position = _instruction(delta, position)
            piece = delta[position - length : position] if start < 0 else view[start : start + length]
            produced += length
            if len(piece) != length or produced > size:
                raise BadPack(_MISFIT)
            yield piece
            if isinstance(piece, memoryview):
                piece.release()
    if produced != size:
        raise BadPack(_MISFIT)


def _instruction(delta: Buffer, position: int) -> tuple[int, int, int]:
    """(start in the base, length, position behind it); a start of -1 stands for the delta's own bytes just before."""
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
    return start, length or 0x10000, position


def _after_sizes(delta: Buffer, base_size: int, size: int) -> int:
    position, sizes = 0, []
    for _ in range(2):
        value = shift = 0
        while True:
            if position >= len(delta) or shift > 60:
                raise BadPack(_MISFIT)
            byte = delta[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        sizes.append(value)
    if sizes != [base_size, size]:
        raise BadPack(_MISFIT)
    return position


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
