"""Two deltas, one upon the other, made into one, without the objects: what lay between them is needed no more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from attrs import frozen

from deployd.git.packs.deltas import delta_sizes, instruction

Step = tuple[int, int] | bytes
"""Of a delta: (where in the base, how many bytes) to copy, or bytes to insert."""
_MOST = 0xFFFF
_INSERT = 127


@frozen
class Delta:
    """The ``steps`` that make an object of ``size`` bytes out of one of ``base`` bytes."""

    base: int
    size: int
    steps: list[Step]


def read_delta(data: bytes) -> Delta:
    """Take a delta apart that has been applied before."""
    base, size, position = delta_sizes(data)
    steps: list[Step] = []
    while position < len(data):
        start, length, position = instruction(data, position)
        steps.append(data[position - length : position] if start < 0 else (start, length))
    return Delta(base, size, steps)


def bridge(upper: Delta, lower: Delta) -> Delta:
    """The delta that makes at once what ``upper`` makes of what ``lower`` makes."""
    starts = [0, *accumulate(map(_length, lower.steps))]
    steps: list[Step] = []
    for step in upper.steps:
        if isinstance(step, bytes):
            steps.append(step)
            continue
        offset, length = step
        number = bisect_right(starts, offset) - 1
        while length > 0:
            piece, within = lower.steps[number], offset - starts[number]
            taken = min(length, starts[number + 1] - offset)
            steps.append(piece[within : within + taken] if isinstance(piece, bytes) else (piece[0] + within, taken))
            offset += taken
            length -= taken
            number += 1
    return Delta(lower.base, upper.size, _joined(steps))


def delta_bytes(delta: Delta) -> bytes:
    """A delta as a pack has it, before it is deflated."""
    out = bytearray(_varint(delta.base) + _varint(delta.size))
    for step in delta.steps:
        if isinstance(step, bytes):
            for start in range(0, len(step), _INSERT):
                piece = step[start : start + _INSERT]
                out.append(len(piece))
                out += piece
            continue
        offset, rest = step
        while rest:
            length = min(rest, _MOST)
            code, place = 0x80, len(out)
            out.append(0)
            for bit, byte in enumerate((*offset.to_bytes(4, "little"), *length.to_bytes(2, "little"))):
                if byte:
                    code |= 1 << bit
                    out.append(byte)
            out[place] = code
            offset += length
            rest -= length
    return bytes(out)


def _joined(steps: Iterable[Step]) -> list[Step]:
    """The same with neighbours made one where they can be."""
    found: list[Step] = []
    for step in steps:
        last = found[-1] if found else None
        if isinstance(step, bytes) and isinstance(last, bytes):
            found[-1] = last + step
        elif isinstance(step, tuple) and isinstance(last, tuple) and last[0] + last[1] == step[0]:
            found[-1] = last[0], last[1] + step[1]
        else:
            found.append(step)
    return found


def _length(step: Step) -> int:
    return len(step) if isinstance(step, bytes) else step[1]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
