"""Records of several instances in one message (wire.fleet.ReadLog): each with the position of its source."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from deployd.processes.records import Record, pack, unpack

_POSITION = Struct(">HI")


def pack_from(position: int, record: Record) -> bytes:
    packed = pack(record)
    return _POSITION.pack(position, len(packed)) + packed


def unpack_from(data: bytes) -> Iterator[tuple[int, Record]]:
    """Positions and records, as far as ``data`` is what ``pack_from`` made."""
    place = 0
    while place + _POSITION.size <= len(data):
        position, length = _POSITION.unpack_from(data, place)
        place += _POSITION.size
        records, _ = unpack(data[place : place + length])
        if len(records) != 1:
            return
        yield position, records[0]
        place += length
