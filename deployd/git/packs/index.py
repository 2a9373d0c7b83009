"""A pack's index, as git reads it (version 2), made from the pack's chart."""

from __future__ import annotations

import hashlib
import sys
import zlib
from array import array
from collections.abc import Iterable
from itertools import pairwise
from typing import BinaryIO

from deployd.git.packs.chart import ID, Chart
from deployd.git.packs.entries import Buffer

_MAGIC = b"\377tOc\0\0\0\2"
_LARGE = 1 << 31


def entry_checks(content: Buffer, offsets: Iterable[int]) -> array[int]:
    """The CRC-32 of each entry of a pack; ``offsets`` ends with the end of the last one."""
    with memoryview(content) as view:
        return array("I", (zlib.crc32(view[start:end]) for start, end in pairwise(offsets)))


def write_index(file: BinaryIO, chart: Chart, checks: array[int], trailer: bytes) -> None:
    """Write the index of the pack that has this ``chart`` and ends with ``trailer``; ``checks`` are by row."""
    order, offsets, ids = chart.order, chart.offsets, chart.ids
    near, far = array("I"), array("Q")
    for row in order:
        offset = offsets[row]
        if offset >= _LARGE:
            far.append(offset)
            offset = _LARGE + len(far) - 1
        near.append(offset)
    whole = hashlib.sha1()
    for piece in (
        _MAGIC,
        _big_endian(array("I", chart.fan)),
        b"".join([ids[row * ID : row * ID + ID] for row in order]),
        _big_endian(array("I", map(checks.__getitem__, order))),
        _big_endian(near),
        _big_endian(far),
        trailer,
    ):
        whole.update(piece)
        file.write(piece)
    file.write(whole.digest())


def _big_endian(numbers: array[int]) -> bytes:
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()
