"""What instances have printed, as it lies on disk.

Note [Logs are records]
~~~~~~~~~~~~~~~~~~~~~~~
A log is a directory of segments: files named by the stamp of their first record. A record is a head (a fixed byte,
stream, length of the data, stamp), the data as it was read from the app (not lines, though it ends with one where there
was one), and its length once more, so that the last ones are found from the end. A segment is only ever appended to, a
record by one write; a kill or a full disk can leave a part of one at its end, and nothing is appended after that.
Stamps grow strictly over all records of a drone, so one is a time and a place to go on from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct

from attrs import frozen

WORDS, STDOUT, STDERR = 0, 1, 2
MAX_DATA = 16 * 1024
SUFFIX = ".log"

_NAME = re.compile(r"([0-9]{20})\.log")
_HEAD = Struct(">BBHQ")
_END = Struct(">H")
AROUND = _HEAD.size + _END.size
"""The bytes of a record beside its data."""
_FIRST = 0xD1


@frozen
class Record:
    """``stamp`` is microseconds since 1970; ``stream`` STDOUT, STDERR, or WORDS of deployd's own; at most MAX_DATA."""

    stamp: int
    stream: int
    data: bytes


def pack(record: Record) -> bytes:
    length = len(record.data)
    return b"".join((_HEAD.pack(_FIRST, record.stream, length, record.stamp), record.data, _END.pack(length)))


def unpack(data: bytes) -> tuple[list[Record], int]:
    """The whole records that ``data`` begins with, and how many bytes they take."""
    records = []
    place = 0
    while place + AROUND <= len(data):
        first, stream, length, stamp = _HEAD.unpack_from(data, place)
        end = place + AROUND + length
        if first != _FIRST or end > len(data):
            break
        records.append(Record(stamp, stream, data[place + _HEAD.size : end - _END.size]))
        place = end
    return records, place


def unpack_backwards(data: bytes) -> Iterator[Record]:
    """The records that ``data`` ends with, the last one first; none where the end of it is torn."""
    end = len(data)
    while end >= AROUND:
        (length,) = _END.unpack_from(data, end - _END.size)
        start = end - AROUND - length
        if start < 0:
            return
        first, stream, again, stamp = _HEAD.unpack_from(data, start)
        if first != _FIRST or again != length:
            return
        yield Record(stamp, stream, data[start + _HEAD.size : end - _END.size])
        end = start


def parts(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces of at most MAX_DATA, cut after a line's end where there is one."""
    start = 0
    while len(data) - start > MAX_DATA:
        end = data.rfind(b"\n", start, start + MAX_DATA) + 1 or start + MAX_DATA
        yield data[start:end]
        start = end
    yield data[start:]


def segment_name(stamp: int) -> str:
    """The file that begins with the record of that stamp; names sort as stamps do."""
    return f"{stamp:020}{SUFFIX}"


def first_stamp(name: str) -> int | None:
    """The stamp in a segment's name; None for other files."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None
