"""A pack's index, as git reads it (version 2)."""

from __future__ import annotations

import hashlib
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import BinaryIO

from attrs import frozen

from deployd.git.packs.chart import ID
from deployd.git.packs.entries import Buffer

_MAGIC = b"\377tOc\0\0\0\2"
_LARGE = 1 << 31


def entry_checks(content: Buffer, offsets: Iterable[int]) -> array[int]:
    """The CRC-32 of each entry of a pack; ``offsets`` ends with the end of the last one."""
    with memoryview(content) as view:
        return array("I", (zlib.crc32(view[start:end]) for start, end in pairwise(offsets)))


@frozen
class IndexRows:
    """The entries of a pack in its order: their ``ids``, 20 bytes each, one after the other, where each begins, and its
    CRC-32; and ``order``, the rows by id."""

    ids: bytes | memoryview
    offsets: Sequence[int] | memoryview
    checks: Sequence[int]
    order: Sequence[int] | memoryview

    @classmethod
    def of(cls, names: Sequence[bytes], offsets: Sequence[int], checks: Sequence[int]) -> IndexRows:
        """Where nobody knows the order yet."""
        return cls(b"".join(names), offsets, checks, sorted(range(len(names)), key=names.__getitem__))


def write_index(file: BinaryIO, rows: IndexRows, trailer: bytes) -> None:
    """Write the index of the pack that has these rows and ends with ``trailer``."""
    ids, offsets, checks, order = rows.ids, rows.offsets, rows.checks, rows.order
    first = Counter(bytes(ids[::ID]))
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
        _big_endian(array("I", accumulate(first[byte] for byte in range(256)))),
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
