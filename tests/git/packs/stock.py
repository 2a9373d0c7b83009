"""Packs of blobs whose deltas go whichever way a test wants, and a reader that takes nothing on trust."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from attrs import frozen
from dulwich.objects import RawObjectID
from dulwich.pack import apply_delta, write_pack_index_v2

from deployd.git.kinds import BLOB, DELTAS, OFS_DELTA
from deployd.git.packs.entries import Header, header_at, inflate_into, inflated
from tests.git import forge


@frozen
class Entry:
    """A blob; a delta where ``base`` is the number of another entry of its pack. ``by_id``: its base is named so."""

    content: bytes
    base: int | None = None
    by_id: bool = False


def blob_id(content: bytes) -> bytes:
    """The 20-byte id of a blob."""
    return bytes.fromhex(forge.object_id(BLOB, content))


def delta(base: bytes, content: bytes) -> bytes:
    """A delta that makes ``content`` of ``base``; what both begin with is copied."""
    common = next((at for at, pair in enumerate(zip(base, content, strict=False)) if pair[0] != pair[1]), 0) % 60_000
    inserts = [content[start : start + 127] for start in range(common, len(content), 127)]
    return (
        forge.varint(len(base))
        + forge.varint(len(content))
        + (b"\xb0" + common.to_bytes(2, "little") if common else b"")
        + b"".join(bytes([len(piece)]) + piece for piece in inserts)
    )


def store_pack(repository: Path, entries: Sequence[Entry], name: str) -> Path:
    """Write a pack of ``entries``, in their order, with its index, and return its path."""
    offsets: list[int] = []
    pieces: list[bytes] = []
    for entry in entries:
        offsets.append(12 + sum(map(len, pieces)))
        if entry.base is None:
            pieces.append(forge.whole(BLOB, entry.content))
            continue
        base = entries[entry.base].content
        change = delta(base, entry.content)
        if entry.by_id:
            pieces.append(forge.ref_delta(blob_id(base).hex(), change))
        else:
            pieces.append(forge.ofs_delta(offsets[-1] - offsets[entry.base], change))
    pack = forge.pack(pieces)
    path = repository / "objects/pack" / f"pack-{name}.pack"
    path.write_bytes(pack)
    rows = [
        (RawObjectID(blob_id(entry.content)), offset, zlib.crc32(piece))
        for entry, offset, piece in zip(entries, offsets, pieces, strict=True)
    ]
    with path.with_suffix(".idx").open("wb") as index:
        write_pack_index_v2(index, sorted(rows), pack[-20:])
    return path


def read_pack(pack: bytes, had: Mapping[bytes, bytes] = MappingProxyType({})) -> dict[bytes, bytes]:
    """The objects of a pack of blobs by id. ``had`` are other objects that the reader has.

    Fails unless the pack is whole, has nothing twice, and has no delta that stands on itself.
    """
    end = len(pack) - 20
    assert pack[:8] == b"PACK\0\0\0\2"
    assert hashlib.sha1(pack[:end]).digest() == pack[end:]
    by_offset: dict[int, bytes] = {}
    found: dict[bytes, bytes] = {}
    waiting: list[tuple[int, Header, bytes]] = []
    position = 12
    while position < end:
        header = header_at(pack, position, end)
        waiting.append((position, header, inflated(pack, header.data, end, header.size)))
        position = inflate_into(pack, header.data, end, header.size, lambda _: None)
    assert int.from_bytes(pack[8:12], "big") == len(waiting)
    while waiting:
        left = []
        for position, header, content in waiting:
            if header.kind in DELTAS:
                base = (
                    by_offset.get(header.base_offset)
                    if header.kind == OFS_DELTA
                    else found.get(header.base_id, had.get(header.base_id))
                )
                if base is None:
                    left.append((position, header, content))
                    continue
                content = b"".join(apply_delta(base, content))
            name = blob_id(content)
            assert name not in found
            by_offset[position] = found[name] = content
        assert len(left) < len(waiting), "deltas without a base"
        waiting = left
    return found
