"""Packs of blobs whose deltas go whichever way a test wants."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from attrs import frozen
from dulwich.objects import RawObjectID
from dulwich.pack import write_pack_index_v2

from deployd.git.kinds import BLOB
from tests.git import forge
from tests.git.packs.packed import read_pack


@frozen
class Entry:
    """A blob; a delta where ``base`` is the number of another entry of its pack. ``by_id``: its base is named so."""

    content: bytes
    base: int | None = None
    by_id: bool = False


def blob_id(content: bytes) -> bytes:
    """The 20-byte id of a blob."""
    return bytes.fromhex(forge.object_id(BLOB, content))


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
        change = forge.delta(base, entry.content)
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


def read_blobs(pack: bytes, had: Mapping[bytes, bytes] = MappingProxyType({})) -> dict[bytes, bytes]:
    """The blobs in a pack by id; ``had`` are others that its reader has."""
    found = read_pack(pack, {name.hex(): (BLOB, content) for name, content in had.items()})
    return {bytes.fromhex(name): content for name, (_, content) in found.items()}
