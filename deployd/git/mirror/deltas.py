"""Large deltas: applied from file to file, so that what they make may be larger than the memory is."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

_MAX_COPY = 0x10000


def apply_large(base: mmap | bytes, delta: mmap | bytes) -> Iterator[memoryview]:
    """``base`` with ``delta`` in pieces that are good until the next one; raise ValueError if they do not fit.

    A delta is two sizes, then instructions: bytes to insert, or what to copy from where in the base.
    """
    size, position = _size(delta, 0)
    result, position = _size(delta, position)
    if size != len(base):
        raise ValueError("a delta is for another base")
    made = 0
    with memoryview(base) as old, memoryview(delta) as new:
        while position < len(new):
            code = new[position]
            if code & 0x80:
                start, length, position = _copy(new, code, position + 1)
                piece = old[start : start + length]
            else:
                length, position = code, position + 1 + code
                piece = new[position - code : position]
            with piece:
                made += length
                if not length or len(piece) != length or made > result:
                    raise ValueError("a delta goes beyond its end")
                yield piece
    if made != result:
        raise ValueError("a delta makes less than it says")


def _copy(delta: memoryview, code: int, position: int) -> tuple[int, int, int]:
    """(start, length, position after it): only the bytes that are not zero are there, ``code`` says which."""
    values = [0] * 7
    for bit in range(7):
        if code >> bit & 1:
            values[bit] = delta[position]
            position += 1
    start = int.from_bytes(values[:4], "little")
    return start, int.from_bytes(values[4:], "little") or _MAX_COPY, position


def _size(delta: mmap | bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 63:
        byte = delta[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position
    raise ValueError("a delta has an impossible size")


def result_size(delta: bytes) -> int:
    """How large what a delta makes is, from its first bytes."""
    return _size(delta, _size(delta, 0)[1])[0]
