"""Objects that a person's git left in files of their own, seen as one more pack, so that nobody else need know of them.

The pack is an unnamed file: nothing in the repository changes because it is read.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zlib
from array import array
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from attrs import Factory, define

from deployd.git.kinds import BLOB, NUMBERS
from deployd.git.packs.drawing import Lookup, Rows, draw_chart
from deployd.git.packs.rows import PackRows, map_file
from deployd.git.packs.survey import Survey
from deployd.git.packs.writing import entry_header

_HEADER = re.compile(rb"(commit|tree|blob|tag) ([0-9]{1,18})\0")


def loose_ids(repository: Path) -> frozenset[bytes]:
    """The ids of all loose objects; most repositories have no directory for any."""
    found = []
    for directory in (repository / "objects").glob("[0-9a-f][0-9a-f]"):
        for path in directory.iterdir():
            with suppress(ValueError):
                name = bytes.fromhex(directory.name + path.name)
                found.append(name)
    return frozenset(name for name in found if len(name) == 20)


def loose_pack(repository: Path, ids: Iterable[bytes], number: int, lookup: Lookup) -> PackRows:
    """Pack ``number``, of these loose objects; a damaged one counts as missing.

    Raise FileNotFoundError when one is gone, as it is once it has been packed.
    """
    with tempfile.TemporaryFile(dir=repository) as file:
        gathered = _Gathered(file)
        file.write(b"PACK\0\0\0\2\0\0\0\0")
        for object_id in sorted(ids):
            gathered.take(repository / "objects", object_id)
        gathered.offsets.append(file.tell())
        file.write(bytes(20))
        file.flush()
        bases = array("i", [-1]) * len(gathered.ids)
        rows = Rows(gathered.ids, gathered.offsets, gathered.kinds, bases)
        return PackRows(None, number, draw_chart(gathered.survey, rows, lookup), map_file(file))


@define
class _Gathered:
    file: BinaryIO
    survey: Survey = Factory(Survey)
    ids: list[bytes] = Factory(list)
    offsets: array[int] = Factory(lambda: array("Q"))
    kinds: bytearray = Factory(bytearray)

    def take(self, objects: Path, object_id: bytes) -> None:
        name = object_id.hex()
        content = _inflated(objects / name[:2] / name[2:])
        header = _HEADER.match(content)
        if not header or hashlib.sha1(content).digest() != object_id:
            return
        kind, content = NUMBERS[header[1]], content[header.end() :]
        if kind != BLOB and not self.survey.read(kind, object_id, content):
            return
        self.ids.append(object_id)
        self.kinds.append(kind)
        self.offsets.append(self.file.tell())
        self.file.write(entry_header(kind, len(content)) + zlib.compress(content, 1))


def _inflated(path: Path) -> bytes:
    try:
        return zlib.decompress(path.read_bytes())
    except zlib.error:
        return b""
