"""One entry of a pack file: its header, its deflated content, and never more memory than was agreed.

A header is a kind and a size, then for deltas the base: an offset back or a 20-byte id. Positions count from the start
of the pack; ``end`` is where its trailer begins.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from typing import NamedTuple, cast

from isal import isal_zlib

from deployd.git.kinds import COMMIT, OFS_DELTA, REF_DELTA, TAG
from deployd.git.problems import BadPack

Buffer = bytes | mmap.mmap
HEADER, TRAILER = 12, 20
"""Bytes before the first entry of a pack, and behind the last one: the SHA-1 of all before."""
CHUNK = 65536
_LONGEST_HEADER = 48
# What is smaller is inflated sooner by zlib, what is larger three times as fast by isal.
_SMALL = 256
_AT_ONCE = 1 << 20
DAMAGED = (zlib.error, cast("type[Exception]", isal_zlib.error))


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
        raise BadPack("the pack ends in the middle of an entry") from None
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
    except DAMAGED as error:
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
        except DAMAGED as error:
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
