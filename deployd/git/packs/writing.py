"""A pack file while it is written: hashed on its way out, in few and large writes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from attrs import define, field
from isal import isal_zlib

from deployd.git.kinds import OFS_DELTA, REF_DELTA
from deployd.git.packs.entries import Buffer

_SMALL = 1 << 14
_PIECE = 1 << 19
_LEVEL = 2
"""Of deflating: as small as zlib's first level, in less than half the time."""


def pack_header(count: int) -> bytes:
    """The beginning of a pack of ``count`` entries."""
    return b"PACK" + (2).to_bytes(4, "big") + count.to_bytes(4, "big")


def entry_header(kind: int, size: int) -> bytes:
    """The kind and inflated size of an entry, as a pack has them."""
    byte, size = (kind << 4) | (size & 15), size >> 4
    header = bytearray()
    while size:
        header.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    header.append(byte)
    return bytes(header)


def distance_bytes(distance: int) -> bytes:
    """How far back a delta's base is, as a pack has it: big end first, and each longer form begins where the
    shorter one ends."""
    if distance < 0x80:
        return bytes((distance,))
    if distance < 0x4080:
        distance -= 0x80
        return bytes((0x80 | distance >> 7, distance & 0x7F))
    form = [distance & 0x7F]
    while distance := distance >> 7:
        distance -= 1
        form.append(0x80 | distance & 0x7F)
    return bytes(reversed(form))


@define
class PackWriter:
    """Writes a pack of ``count`` entries to ``out``. ``position`` is where the next entry begins.

    ``grown`` hears how many bytes ``out`` has, after each write of about half a megabyte.
    """

    out: BinaryIO
    grown: Callable[[int], object]
    position: int = field(init=False, default=0)
    _pieces: list[bytes] = field(init=False, factory=list)
    _written: int = field(init=False, default=0)
    _hash: hashlib._Hash = field(init=False, factory=hashlib.sha1)

    def begin(self, count: int) -> None:
        """Write the pack's header."""
        self.put(pack_header(count))

    def put(self, piece: bytes) -> None:
        """Write ``piece``."""
        self._pieces.append(piece)
        self.position += len(piece)
        if self.position - self._written >= _PIECE:
            self._flush()

    def copy(self, content: Buffer, start: int, end: int) -> None:
        """Write what ``content`` has from ``start`` to ``end``."""
        if end - start <= _SMALL:
            if start < end:
                self.put(content[start:end])
            return
        self._flush()
        with memoryview(content) as view:
            for begin in range(start, end, _PIECE):
                with view[begin : min(begin + _PIECE, end)] as piece:
                    self.position += len(piece)
                    self._write(piece)

    def whole(self, kind: int, content: bytes) -> None:
        """Write an object that is no delta."""
        self.put(entry_header(kind, len(content)))
        if len(content) <= _PIECE:
            self.put(isal_zlib.compress(content, _LEVEL))
            return
        deflater = isal_zlib.compressobj(_LEVEL)
        with memoryview(content) as view:
            for begin in range(0, len(content), _PIECE):
                self.put(deflater.compress(view[begin : begin + _PIECE]))
        self.put(deflater.flush())

    def delta(self, base: int | bytes, data: bytes) -> None:
        """Write a delta of the entry so far back, or of the object with this 20-byte id."""
        kind, pointer = _base(base)
        self.put(entry_header(kind, len(data)) + pointer + isal_zlib.compress(data, _LEVEL))

    def end(self) -> bytes:
        """Write the trailer, and return it: the SHA-1 of all before."""
        self._flush()
        trailer = self._hash.digest()
        self.position += len(trailer)
        self._write(trailer)
        return trailer

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = b"".join(self._pieces), []
            self._write(pieces)

    def _write(self, piece: bytes | memoryview) -> None:
        self._hash.update(piece)
        self.out.write(piece)
        self._written = self.position
        self.grown(self._written)


def delta_header(content: Buffer, start: int, base: int | bytes) -> tuple[bytes, int]:
    """The header of the delta at ``start`` made to point at another base: a distance back, or an id of 20 bytes.

    Return it and where the delta's deflated bytes begin. The header is one that was read before and is well-formed.
    """
    position = start
    while content[position] & 0x80:
        position += 1
    position += 1
    size = content[start:position]
    if size[0] >> 4 & 7 == OFS_DELTA:
        while content[position] & 0x80:
            position += 1
        position += 1
    else:
        position += 20
    kind, pointer = _base(base)
    return bytes((size[0] & 0x8F | kind << 4,)) + size[1:] + pointer, position


def _base(base: int | bytes) -> tuple[int, bytes]:
    return (OFS_DELTA, distance_bytes(base)) if isinstance(base, int) else (REF_DELTA, base)
