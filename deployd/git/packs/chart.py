"""A chart: what one pack holds, in columns, so that a fetch needs no walk over trees.

It lies in the repository as ``deployd/pack-SHA.chart``, is mapped into memory and never changes. Rows are the pack's
entries in their order; other commits' and packs' objects are *outside*. A reference is an int32: a row, or ``~k`` for
the k-th id of ``outside``. All columns are little arrays in the machine's own byte order; a chart of another version,
of another machine or with a wrong sum counts as missing, and is made again from the pack.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO, Literal, cast

from attrs import frozen

from deployd.git.packs.mapping import map_path

DIRECTORY, SUFFIX, TEMPORARY = "deployd", ".chart", ".chart-"
ID = 20
Ints = memoryview
"""Of whole numbers."""
_Code = Literal["B", "I", "i", "Q", "q"]
_MAGIC = b"deployd chart\0\0\4"
_COLUMNS = {
    "offsets": "Q",
    "ids": "B",
    "order": "I",
    "slots": "I",
    "kinds": "B",
    "bases": "i",
    "outside": "B",
    "commits": "I",
    "times": "q",
    "trees": "i",
    "parent_starts": "I",
    "parents": "i",
    "introduced_starts": "Q",
    "introduced": "i",
    "tags": "I",
    "targets": "i",
    "rest": "I",
}
_HEAD = struct.Struct(f"=16sIIQ20s4x{len(_COLUMNS)}Q")


@frozen(eq=False)
class Chart:
    """``offsets``: where each entry begins, and where the last one ends; ``ids``: 20 bytes a row; ``order``: the rows
    by id; ``slots``: where the ids with certain first bits begin in ``order``. ``kinds``: of the objects, deltas
    resolved; ``bases``: the row of a delta's base, or -1.

    The pack's commits come parents first: ``commits`` are their rows, ``trees`` references, ``times`` the committers'.
    ``parents[parent_starts[c]:parent_starts[c + 1]]`` are commits of this pack, by their number in it, or ``~k``.
    ``introduced`` likewise: references to the commit itself and to whatever is in its tree and in none of its
    parents' (perhaps a little more); none at all when that would have been too much to list.

    ``tags`` are rows, ``targets`` references to what they point at. ``rest``: the rows that are in no commit's list and
    no tags.
    """

    offsets: Ints
    ids: memoryview
    order: Ints
    slots: Ints
    kinds: Ints
    bases: Ints
    outside: memoryview
    commits: Ints
    times: Ints
    trees: Ints
    parent_starts: Ints
    parents: Ints
    introduced_starts: Ints
    introduced: Ints
    tags: Ints
    targets: Ints
    rest: Ints

    def __len__(self) -> int:
        return len(self.kinds)

    def id(self, row: int) -> bytes:
        """The 20-byte id of a row."""
        return bytes(self.ids[row * ID : row * ID + ID])

    def outside_id(self, reference: int) -> bytes:
        """The id that the reference ``~k`` stands for."""
        start = ~reference * ID
        return bytes(self.outside[start : start + ID])

    def id_of(self, reference: int) -> bytes:
        """The id of a row or of what is outside."""
        return self.id(reference) if reference >= 0 else self.outside_id(reference)

    def row(self, object_id: bytes) -> int | None:
        """The row of an id; None when it is not in the pack."""
        slots, ids, order = self.slots, self.ids, self.order
        slot = int.from_bytes(object_id[:2], "big") * (len(slots) - 1) >> 16
        for place in range(slots[slot], slots[slot + 1]):
            row = order[place]
            if ids[row * ID : row * ID + ID] == object_id:
                return row
        return None


def chart_path(pack: Path) -> Path:
    """Where the chart of a pack ``REPO/objects/pack/pack-SHA.pack`` lies."""
    return pack.parents[2] / DIRECTORY / (pack.stem + SUFFIX)


def chart_of(columns: Mapping[str, array[int] | bytes | bytearray], length: int) -> Chart:
    """A chart in memory, of ``length`` rows. What finds rows by id, and the ``rest``, are made here from the others."""
    complete = {**columns, "rest": _rest(columns, length), **_by_id(bytes(columns["ids"]), length)}
    return Chart(
        **{name: memoryview(complete[name]).cast("B").cast(cast(_Code, code)) for name, code in _COLUMNS.items()}
    )


def save_chart(path: Path, chart: Chart, size: int, checksum: bytes) -> None:
    """Write a chart all at once. ``size`` and ``checksum`` (its last 20 bytes) tell which pack's it is.

    It need not be durable: one that a power cut spoiled has a wrong sum, and is made again.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, chart, size, checksum)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def open_chart(path: Path, size: int, checksum: bytes) -> Chart | None:
    """Map the chart of the pack of this ``size`` and ``checksum``; None when it is missing, damaged or another's."""
    try:
        content = memoryview(map_path(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if len(content) < _HEAD.size:
        return None
    magic, total, order, *rest = _HEAD.unpack(content[: _HEAD.size])
    lengths = rest[2:]
    sizes = [-(-length // 8) * 8 for length in lengths]
    if (magic, order, rest[0], rest[1]) != (_MAGIC, len(_COLUMNS), size, checksum):
        return None
    if _HEAD.size + sum(sizes) != len(content) or zlib.crc32(content[20:]) != total:
        return None
    columns, start = {}, _HEAD.size
    for (name, code), length, padded in zip(_COLUMNS.items(), lengths, sizes, strict=True):
        columns[name] = content[start : start + length].cast(cast(_Code, code))
        start += padded
    return Chart(**columns)


def _write(file: BinaryIO, chart: Chart, size: int, checksum: bytes) -> None:
    columns = [cast(memoryview, getattr(chart, name)).cast("B") for name in _COLUMNS]
    head = _HEAD.pack(_MAGIC, 0, len(_COLUMNS), size, checksum, *map(len, columns))
    pieces: list[bytes | memoryview] = [head[20:]]
    for column in columns:
        pieces += [column, bytes(-len(column) % 8)]
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    file.write(head[:16] + struct.pack("=I", total))
    file.writelines(pieces)


def _rest(columns: Mapping[str, array[int] | bytes | bytearray], length: int) -> array[int]:
    seen = bytearray(length)
    for row in chain(columns["tags"], columns["introduced"]):
        if row >= 0:
            seen[row] = 1
    return array("I", (row for row in range(length) if not seen[row]))


def _by_id(ids: bytes, length: int) -> dict[str, array[int]]:
    names = [ids[start : start + ID] for start in range(0, length * ID, ID)]
    # The first two bytes of each id, as a number.
    pairs = bytearray(2 * length)
    pairs[::2], pairs[1::2] = (ids[1::ID], ids[::ID]) if sys.byteorder == "little" else (ids[::ID], ids[1::ID])
    # Two to eight ids a slot, unless there are very many.
    bits = max(16 - max(length.bit_length() - 3, 0), 0)
    slots = [0] * (1 << 16 - bits)
    for pair, count in Counter(memoryview(pairs).cast("H")).items():
        slots[pair >> bits] += count
    return {
        "order": array("I", sorted(range(length), key=names.__getitem__)),
        "slots": array("I", accumulate(slots, initial=0)),
    }
