"""One entry of a pack file: its header, its deflated content, and never more memory than was agreed.

A header is a kind and a size, then for deltas the base: an offset back or a 20-byte id. Positions count from the start
of the pack; ``end`` is where the 20-byte trailer begins.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable

from attrs import frozen

from deployd.git.kinds import COMMIT, DELTAS, OFS_DELTA, REF_DELTA
from deployd.git.problems import BadPack

Buffer = bytes | mmap.mmap
CHUNK = 65536
_KINDS = frozenset({1, 2, 3, 4, OFS_DELTA, REF_DELTA})


@frozen(slots=True)
class Header:
    """``size`` is of the inflated entry (a delta's own size); ``data`` is where its deflated bytes begin."""

    kind: int
    size: int
    base_offset: int
    base_id: bytes
    data: int


def header_at(buffer: Buffer, position: int, end: int) -> Header:
    """Read the header at ``position``; raise BadPack when it is cut short or is no header."""
    start = position
    byte, position = _byte(buffer, position, end)
    kind, size, shift = (byte >> 4) & 7, byte & 15, 4
    while byte & 0x80:
        byte, position = _byte(buffer, position, end)
        size |= (byte & 0x7F) << shift
        shift += 7
        if shift > 60:
            raise BadPack("the pack has an entry of an impossible size")
    if kind not in _KINDS:
        raise BadPack(f"the pack has an entry of unknown kind {kind}")
    base_offset, base_id = 0, b""
    if kind == OFS_DELTA:
        distance, position = _distance(buffer, position, end)
        base_offset = start - distance
    elif kind == REF_DELTA:
        base_id = bytes(buffer[position : position + 20])
        position += 20
    if position >= end:
        raise BadPack("the pack ends in the middle of an entry")
    return Header(kind, size, base_offset, base_id, position)


def inflate_into(buffer: Buffer, position: int, end: int, size: int, take: Callable[[bytes], object]) -> int:
    """Give ``take`` the content in pieces of at most CHUNK bytes; return the position after it.

    Raise BadPack when the deflated stream is broken or does not hold exactly ``size`` bytes, without ever inflating
    more than one piece beyond them.
    """
    inflater = zlib.decompressobj()
    step = min(CHUNK, size + (size >> 6) + 64)
    rest, piece, produced = b"", b"", 0
    try:
        while not inflater.eof:
            if not rest and len(piece) < CHUNK:
                rest = buffer[position : min(position + step, end)]
                position += len(rest)
                if not rest:
                    raise BadPack("the pack ends in the middle of an entry")
            piece = inflater.decompress(rest, CHUNK)
            rest = inflater.unconsumed_tail
            produced += len(piece)
            if produced > size:
                raise BadPack("an object of the pack is larger than it says")
            take(piece)
    except zlib.error as error:
        raise BadPack("an object of the pack is damaged") from error
    if produced != size:
        raise BadPack("an object of the pack is smaller than it says")
    return position - len(inflater.unused_data)


def inflated(buffer: Buffer, position: int, end: int, size: int) -> bytes:
    """The whole content of an entry of ``size`` bytes."""
    pieces: list[bytes] = []
    inflate_into(buffer, position, end, size, pieces.append)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def delta_sizes(head: bytes) -> tuple[int, int]:
    """(base size, result size) from the first bytes of a delta; raise BadPack when they are not there."""
    base, position = _varint(head, 0)
    result, _ = _varint(head, position)
    return base, result


def peek(buffer: Buffer, position: int, end: int) -> bytes:
    """The first bytes of an entry's content, enough for ``delta_sizes``."""
    try:
        return zlib.decompressobj().decompress(buffer[position : min(position + 128, end)], 32)
    except zlib.error as error:
        raise BadPack("an object of the pack is damaged") from error


def kind_and_size(buffer: Buffer, offset: int, end: int, offset_of: Callable[[bytes], int]) -> tuple[int, int]:
    """Kind and inflated size of the object at ``offset``, following its deltas by their headers only.

    ``offset_of`` finds a base by id in the same pack and raises KeyError.
    """
    header = header_at(buffer, offset, end)
    size = header.size if header.kind not in DELTAS else delta_sizes(peek(buffer, header.data, end))[1]
    while header.kind in DELTAS:
        base = header.base_offset if header.kind == OFS_DELTA else offset_of(header.base_id)
        if base <= 0 or base == offset:
            raise BadPack("a delta has no base")
        offset = base
        header = header_at(buffer, offset, end)
    assert header.kind >= COMMIT
    return header.kind, size


def _byte(buffer: Buffer, position: int, end: int) -> tuple[int, int]:
    if position >= end:
        raise BadPack("the pack ends in the middle of an entry")
    return buffer[position], position + 1


def _distance(buffer: Buffer, position: int, end: int) -> tuple[int, int]:
    byte, position = _byte(buffer, position, end)
    distance = byte & 0x7F
    while byte & 0x80:
        byte, position = _byte(buffer, position, end)
        distance = ((distance + 1) << 7) | (byte & 0x7F)
        if distance > 1 << 62:
            raise BadPack("the pack has an entry with an impossible base")
    return distance, position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 63:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position
    raise BadPack("a delta of the pack has no sizes")
