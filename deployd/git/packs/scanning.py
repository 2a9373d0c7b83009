"""The first pass over a pack that nobody has checked: bounds first, then content, in bounded memory.

Every declared size is held against the limits before a byte is inflated; content is inflated in pieces, hashed, and
dropped, except commits, trees and tags, which the caller looks into. Deltas are only measured here (``resolving``
applies them).
"""

from __future__ import annotations

import hashlib
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable

from attrs import Factory, define

from deployd.git.kinds import BLOB, DELTAS, NAMES, OFS_DELTA
from deployd.git.limits import GitLimits
from deployd.git.packs.entries import Buffer, delta_sizes, header_at, inflate_into
from deployd.git.problems import BadPack

Seen = Callable[[int, bytes, bytes], None]
"""Told (kind, 20-byte id, content) of every commit, tree and tag."""
TRAILER = 20


@define
class PackScan:
    """Columns over the entries in pack order; ``ids`` of deltas are b"" until they are resolved.

    ``sizes`` are of the object (a delta's result), ``stored`` of the inflated entry; ``data`` are positions.
    ``parents`` maps a delta's row to its base's row, ``named`` to its base's id; ``spent`` is what inflating cost.
    """

    end: int
    offsets: array[int] = Factory(lambda: array("Q"))
    data: array[int] = Factory(lambda: array("Q"))
    sizes: array[int] = Factory(lambda: array("Q"))
    stored: array[int] = Factory(lambda: array("Q"))
    checks: array[int] = Factory(lambda: array("L"))
    kinds: bytearray = Factory(bytearray)
    ids: list[bytes] = Factory(list)
    rows: dict[bytes, int] = Factory(dict)
    parents: dict[int, int] = Factory(dict)
    named: dict[int, bytes] = Factory(dict)
    spent: int = 0

    def __len__(self) -> int:
        return len(self.offsets)

    def identify(self, row: int, kind: int, object_id: bytes) -> None:
        """Say what the object of ``row`` is; raise BadPack when the pack holds it twice."""
        if self.rows.setdefault(object_id, row) != row:
            raise BadPack("the pack holds an object twice")
        self.kinds[row] = kind
        self.ids[row] = object_id

    def spend(self, size: int, limits: GitLimits) -> None:
        """Count ``size`` inflated bytes; raise BadPack over the limit."""
        self.spent += size
        if self.spent > limits.inflated_bytes:
            raise BadPack(f"the pack inflates to more than {limits.inflated_bytes} bytes")


def scan(buffer: Buffer, limits: GitLimits, seen: Seen) -> PackScan:
    """Read the pack in ``buffer`` from end to end; raise BadPack at the first thing that is wrong."""
    found = PackScan(len(buffer) - TRAILER)
    count = _count(buffer, limits)
    if hashlib.sha1(memoryview(buffer)[: found.end]).digest() != buffer[found.end :]:
        raise BadPack("the pack's checksum is wrong: it was damaged or cut short on the way")
    position = 12
    for _ in range(count):
        position = _entry(buffer, position, found, limits, seen)
    if position != found.end:
        raise BadPack("the pack goes on after its last object")
    return found


def _count(buffer: Buffer, limits: GitLimits) -> int:
    if len(buffer) < 12 + TRAILER:
        raise BadPack("the pack is cut short")
    if len(buffer) > limits.pack_bytes:
        raise BadPack(f"the pack has more than {limits.pack_bytes} bytes")
    if buffer[:4] != b"PACK" or int.from_bytes(buffer[4:8], "big") not in (2, 3):
        raise BadPack("this is not a pack")
    count = int.from_bytes(buffer[8:12], "big")
    if count > limits.objects:
        raise BadPack(f"the pack has {count} objects; the limit is {limits.objects}")
    return count


def _entry(buffer: Buffer, position: int, found: PackScan, limits: GitLimits, seen: Seen) -> int:
    header = header_at(buffer, position, found.end)
    row = len(found)
    found.offsets.append(position)
    found.data.append(header.data)
    found.stored.append(header.size)
    found.kinds.append(header.kind)
    found.ids.append(b"")
    limit = limits.object_bytes if header.kind in DELTAS or header.kind == BLOB else limits.meta_bytes
    if header.size > limit:
        raise BadPack(f"an object of the pack has {header.size} bytes; the limit is {limit}")
    found.spend(header.size, limits)
    if header.kind in DELTAS:
        after = _delta(buffer, header.data, row, header.size, found, limits)
        if header.kind == OFS_DELTA:
            found.parents[row] = _row_at(found, header.base_offset)
        else:
            found.named[row] = header.base_id
    else:
        after = _whole(buffer, header.data, row, header.size, found, seen)
    found.checks.append(zlib.crc32(buffer[position:after]))
    return after


def _whole(buffer: Buffer, data: int, row: int, size: int, found: PackScan, seen: Seen) -> int:
    kind = found.kinds[row]
    hasher = hashlib.sha1(b"%s %d\0" % (NAMES[kind], size))
    pieces: list[bytes] = []

    def take(piece: bytes) -> None:
        hasher.update(piece)
        if kind != BLOB:
            pieces.append(piece)

    after = inflate_into(buffer, data, found.end, size, take)
    found.sizes.append(size)
    found.identify(row, kind, hasher.digest())
    if kind != BLOB:
        seen(kind, hasher.digest(), b"".join(pieces))
    return after


def _delta(buffer: Buffer, data: int, row: int, size: int, found: PackScan, limits: GitLimits) -> int:
    head = bytearray()

    def take(piece: bytes) -> None:
        if len(head) < 32:
            head.extend(piece[:32])

    after = inflate_into(buffer, data, found.end, size, take)
    _, result = delta_sizes(bytes(head))
    if result > limits.object_bytes:
        raise BadPack(f"a delta of the pack makes {result} bytes; the limit is {limits.object_bytes}")
    found.spend(result, limits)
    found.sizes.append(result)
    assert len(found.sizes) == row + 1
    return after


def _row_at(found: PackScan, offset: int) -> int:
    row = bisect_left(found.offsets, offset)
    if row >= len(found) or found.offsets[row] != offset or row == len(found) - 1:
        raise BadPack("a delta of the pack has a base where no object begins")
    return row
