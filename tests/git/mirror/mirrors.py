"""Mirrors made by hand: whatever is to be in them is, checked or not."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

from dulwich.objects import RawObjectID
from dulwich.pack import write_pack_index_v2
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.mirror import fetching
from tests.git import forge
from tests.git.forge import Objects


def put(mirror: Path, entries: list[tuple[str, bytes]]) -> Path:
    """Put a pack of (hex id, entry) into a mirror, as if it had slipped through every check; return its path."""
    content = forge.pack([entry for _, entry in entries])
    rows, position = [], 12
    for name, entry in entries:
        rows.append((RawObjectID(bytes.fromhex(name)), position, zlib.crc32(entry)))
        position += len(entry)
    path = mirror / "objects" / "pack" / f"pack-{hashlib.sha1(content).hexdigest()}.pack"
    path.write_bytes(content)
    with path.with_suffix(".idx").open("wb") as file:
        write_pack_index_v2(file, sorted(rows), content[-20:])
    return path


def named(objects: Objects) -> list[tuple[str, bytes]]:
    """The entries of ``objects``, each with its id."""
    found = []
    for entry in objects.entries:
        header = 1
        while entry[header - 1] & 0x80:
            header += 1
        found.append((forge.object_id((entry[0] >> 4) & 7, zlib.decompress(entry[header:])), entry))
    return found


class MirrorTestCase(SynchronousTestCase):
    """An empty ``mirror``, in a directory ``top``."""

    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.top.mkdir()
        self.mirror = self.top / "mirror"
        fetching.create_mirror(self.mirror)

    def packs(self) -> list[Path]:
        return sorted((self.mirror / "objects" / "pack").glob("*.pack"))
