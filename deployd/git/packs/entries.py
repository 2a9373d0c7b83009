"""One entry of a pack file: its header, its deflated content, and never more memory than was agreed.

A header is a kind and a size, then for deltas the base: an offset back or a 20-byte id. Positions count from the start
of the pack; ``end`` is where the 20-byte trailer begins.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from typing import NamedTuple, cast

from isal import isal_zlib

from deployd.git.kinds import COMMIT, DELTAS, OFS_DELTA, REF_DELTA, TAG
from deployd.git.problems import BadPack

Buffer = bytes | mmap.mmap
CHUNK = 65536
_LONGEST_HEADER = 48
_DELTA_HEAD = 32
# What is smaller is inflated sooner by zlib, what is larger three times as fast by isal.
_SMALL = 256
_AT_ONCE = 1 << 20
_DAMAGED = (zlib.error, cast("type[Exception]", isal_zlib.error))


class Header(NamedTuple):
    """``size`` is of the inflated entry (a delta's own size); ``data`` is where its deflated bytes begin."""

    kind: int
    size: int
    base_offset: int
    base_id: bytes
    data: int


def header_at(buffer: Buffer, position: int, end: int) -> Header:
    """Read the header at ``position``; raise BadPack when it is cut short or is no header."""
    head = buffer[position : min(position + _LONGEST_HEADER, end)]
    base_offset, base_id = 0, b""
    try:
        byte, at = head[0], 1
        kind, size, shift = (byte >> 4) & 7, byte & 15, 4
        while byte & 0x80:
            byte = head[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 60:
                raise BadPack("the pack has an entry of an impossible size")
        if kind == OFS_DELTA:
            distance, at = _distance(head, at)
            base_offset = position - distance
        elif kind == REF_DELTA:
            base_id = head[at : at + 20]
            at += 20
        elif not COMMIT <= kind <= TAG:
            raise BadPack(f"the pack has an entry of unknown kind {kind}")
    except IndexError:
        at = _LONGEST_HEADER
    if position + at >= end:
        raise BadPack("the pack ends in the middle of an entry")
    return Header(kind, size, base_offset, base_id, position + at)


def inflate_into(buffer: Buffer, position: int, end: int, size: int, take: Callable[[bytes], object]) -> int:
    """Give ``take`` the content in pieces of at most CHUNK bytes; return the position after it.

    Raise BadPack when the deflated stream is broken or does not hold exactly ``size`` bytes, without ever inflating
    more than one piece beyond them.
    """
    inflater = isal_zlib.decompressobj()
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
    except _DAMAGED as error:
        raise BadPack("an object of the pack is damaged") from error
    if produced != size:
        raise BadPack("an object of the pack is smaller than it says")
    return position - len(inflater.unused_data)


def inflate(buffer: Buffer, position: int, end: int, size: int) -> tuple[bytes, int]:
    """The whole content of an entry of ``size`` bytes, and the position after it. Raise BadPack as above."""
    if size <= _AT_ONCE:
        inflater = zlib.decompressobj() if size < _SMALL else isal_zlib.decompressobj()
        until = min(position + size + (size >> 6) + 64, end)
        try:
            content = inflater.decompress(buffer[position:until], size + 1)
        except _DAMAGED as error:
            raise BadPack("an object of the pack is damaged") from error
        if inflater.eof and len(content) == size:
            return content, until - len(inflater.unused_data)
    # It is long, packed in an unusual way, or wrong.
    pieces: list[bytes] = []
    after = inflate_into(buffer, position, end, size, pieces.append)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), after


def inflated(buffer: Buffer, position: int, end: int, size: int) -> bytes:
    """The whole content of an entry of ``size`` bytes."""
    return inflate(buffer, position, end, size)[0]


def delta_sizes(head: bytes) -> tuple[int, int]:
    """(base size, result size) from the first bytes of a delta; raise BadPack when they are not there."""
    base, position = _varint(head, 0)
    result, _ = _varint(head, position)
    return base, result


def peek(buffer: Buffer, position: int, end: int) -> bytes:
    """The first bytes of an entry's content, enough for ``delta_sizes``."""
    inflater, head = zlib.decompressobj(), b""
    try:
        # The tables before the first byte may be longer than many a delta.
        while len(head) < _DELTA_HEAD and not inflater.eof and position < end:
            piece = buffer[position : min(position + 256, end)]
            position += len(piece)
            head += inflater.decompress(piece, _DELTA_HEAD - len(head))
    except zlib.error as error:
        raise BadPack("an object of the pack is damaged") from error
    return head


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


def _distance(head: bytes, at: int) -> tuple[int, int]:
    byte = head[at]
    at += 1
    distance = byte & 0x7F
    while byte & 0x80:
        byte = head[at]
        at += 1
        distance = ((distance + 1) << 7) | (byte & 0x7F)
        if distance > 1 << 62:
            raise BadPack("the pack has an entry with an impossible base")
    return distance, at


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
