"""The first pass over a pack that nobody has checked: bounds first, then content, in bounded memory.

Every declared size is held against the limits before a byte is inflated; content is inflated within it, hashed, and
dropped, except commits, trees and tags, which the caller looks into. Deltas are only measured here (``resolving``
applies them), and short ones kept, so that they need not be inflated again.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable

from attrs import Factory, define

from deployd.git.kinds import BLOB, DELTAS, NAMES, OFS_DELTA
from deployd.git.limits import GitLimits
from deployd.git.packs.deltas import delta_sizes
from deployd.git.packs.entries import HEADER, TRAILER, Buffer, header_at, inflate, inflate_into
from deployd.git.problems import BadPack

Seen = Callable[[int, bytes, bytes], None]
"""Told (kind, 20-byte id, content) of every commit, tree and tag."""
Step = Callable[[int], object]
"""Told from time to time how many objects are done."""
STEP = 1024
_HELD_WHOLE = 1 << 20
# What git's own programs take; such an entry would be sent on to them as it is.
_SHORTEST_DELTA = 4
_SHORT_DELTA, _KEPT_BYTES, _KEPT_OVERHEAD = 1000, 64 << 20, 150


@define
class PackScan:
    """Columns over the entries in pack order; ``ids`` of deltas are b"" until they are resolved.

    ``sizes`` are of the object (a delta's result), ``stored`` of the inflated entry; ``data`` are positions. ``bases``
    are the rows of deltas' bases, -1 for what is whole or has its base ``named`` by id. ``kept`` are inflated deltas.
    ``spent`` bytes were inflated so far, work on deltas included, of ``most`` that may be.
    """

    end: int
    most: int
    offsets: array[int] = Factory(lambda: array("Q"))
    data: array[int] = Factory(lambda: array("Q"))
    sizes: array[int] = Factory(lambda: array("Q"))
    stored: array[int] = Factory(lambda: array("Q"))
    bases: array[int] = Factory(lambda: array("i"))
    kinds: bytearray = Factory(bytearray)
    ids: list[bytes] = Factory(list)
    named: dict[int, bytes] = Factory(dict)
    kept: dict[int, bytes] = Factory(dict)
    spent: int = 0
    room: int = _KEPT_BYTES

    def __len__(self) -> int:
        return len(self.offsets)

    def spend(self, size: int) -> None:
        """Count ``size`` inflated bytes; raise BadPack over the limit."""
        self.spent += size
        if self.spent > self.most:
            raise BadPack(f"the pack inflates to more than {self.most} bytes")

    def rows(self) -> dict[bytes, int]:
        """The row of each id, once all are known; raise BadPack when the pack holds an object twice."""
        rows = dict(zip(self.ids, range(len(self.ids)), strict=True))
        if len(rows) != len(self.ids):
            raise BadPack("the pack holds an object twice")
        return rows


def object_id(kind: int, content: bytes) -> bytes:
    """The 20-byte id of an object."""
    hasher = hashlib.sha1(b"%s %d\0" % (NAMES[kind], len(content)))
    hasher.update(content)
    return hasher.digest()


def scan(buffer: Buffer, limits: GitLimits, seen: Seen, step: Step = lambda done: None) -> PackScan:
    """Read the pack in ``buffer`` from end to end; raise BadPack at the first thing that is wrong."""
    most = min(limits.inflated_bytes, limits.inflated_free + limits.inflation * len(buffer))
    found = PackScan(len(buffer) - TRAILER, most)
    count = entry_count(buffer, limits)
    with memoryview(buffer) as view, view[: found.end] as body:
        if hashlib.sha1(body).digest() != buffer[found.end :]:
            raise BadPack("the pack's checksum is wrong: it was damaged or cut short on the way")
    position = HEADER
    for row in range(count):
        if not row % STEP:
            step(row)
        position = _entry(buffer, position, row, found, limits, seen)
    if position != found.end:
        raise BadPack("the pack goes on after its last object")
    step(count)
    return found


def entry_count(buffer: Buffer, limits: GitLimits) -> int:
    """How many objects the pack says it has; raise BadPack when it is none, or has more than it may."""
    if len(buffer) < HEADER + TRAILER:
        raise BadPack("the pack is cut short")
    if len(buffer) > limits.pack_bytes:
        raise BadPack(f"the pack has more than {limits.pack_bytes} bytes")
    if buffer[:4] != b"PACK" or int.from_bytes(buffer[4:8], "big") not in (2, 3):
        raise BadPack("this is not a pack")
    count = int.from_bytes(buffer[8:12], "big")
    if count > limits.objects:
        raise BadPack(f"the pack has {count} objects; the limit is {limits.objects}")
    return count


def _entry(buffer: Buffer, position: int, row: int, found: PackScan, limits: GitLimits, seen: Seen) -> int:
    kind, size, base_offset, base_id, data = header_at(buffer, position, found.end)
    found.offsets.append(position)
    found.data.append(data)
    found.stored.append(size)
    found.kinds.append(kind)
    limit = limits.object_bytes if kind in DELTAS or kind == BLOB else limits.meta_bytes
    if size > limit:
        raise BadPack(f"an object of the pack has {size} bytes; the limit is {limit}")
    found.spend(size)
    if kind not in DELTAS:
        found.bases.append(-1)
        return _whole(buffer, data, kind, size, found, seen)
    found.ids.append(b"")
    if kind == OFS_DELTA:
        found.bases.append(_row_at(found, base_offset, row))
    else:
        found.bases.append(-1)
        found.named[row] = base_id
    return _delta(buffer, data, row, size, found, limits)


def _whole(buffer: Buffer, data: int, kind: int, size: int, found: PackScan, seen: Seen) -> int:
    if kind == BLOB and size > _HELD_WHOLE:
        hasher = hashlib.sha1(b"blob %d\0" % size)
        after = inflate_into(buffer, data, found.end, size, hasher.update)
        name = hasher.digest()
    else:
        content, after = inflate(buffer, data, found.end, size)
        name = object_id(kind, content)
        if kind != BLOB:
            seen(kind, name, content)
    found.sizes.append(size)
    found.ids.append(name)
    return after


def _delta(buffer: Buffer, data: int, row: int, size: int, found: PackScan, limits: GitLimits) -> int:
    if size <= _HELD_WHOLE:
        head, after = inflate(buffer, data, found.end, size)
        if size <= _SHORT_DELTA and found.room > 0:
            found.kept[row] = head
            found.room -= size + _KEPT_OVERHEAD
    else:
        start = bytearray()

        def take(piece: bytes) -> None:
            if len(start) < 32:
                start.extend(piece[:32])

        after = inflate_into(buffer, data, found.end, size, take)
        head = bytes(start)
    if size < _SHORTEST_DELTA:
        raise BadPack("a delta of the pack is too short for git")
    _, result, _ = delta_sizes(head)
    if result > limits.object_bytes:
        raise BadPack(f"a delta of the pack makes {result} bytes; the limit is {limits.object_bytes}")
    found.spend(result)
    found.sizes.append(result)
    return after


def _row_at(found: PackScan, offset: int, before: int) -> int:
    row = bisect_left(found.offsets, offset) if offset > 0 else before
    if row >= before or found.offsets[row] != offset:
        raise BadPack("a delta of the pack has a base where no object begins")
    return row
