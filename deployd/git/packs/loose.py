"""Objects that a person's git left in files of their own, seen as one more pack, so that nobody else need know of them.

The pack is an unnamed file: nothing in the repository changes because it is read.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from array import array
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from attrs import Factory, define

from deployd.git.kinds import BLOB, NUMBERS
from deployd.git.packs.drawing import Lookup, Rows, draw_chart
from deployd.git.packs.entries import TRAILER
from deployd.git.packs.mapping import in_file
from deployd.git.packs.rows import PackRows
from deployd.git.packs.survey import Survey
from deployd.git.packs.writing import entry_header, pack_header

_HEADER = re.compile(rb"(commit|tree|blob|tag) ([0-9]{1,18})\0")


def loose_ids(objects: Path) -> frozenset[bytes]:
    """The ids of all loose objects in the directory ``objects``; most repositories have none."""
    found = []
    for directory in objects.glob("[0-9a-f][0-9a-f]"):
        for path in directory.iterdir():
            # Git's temporary files are there too.
            with suppress(ValueError):
                found.append(bytes.fromhex(directory.name + path.name))
    return frozenset(name for name in found if len(name) == 20)


def loose_object(objects: Path, object_id: bytes) -> tuple[int, bytes] | None:
    """(kind, content) of a loose object; None when there is none, or it is damaged."""
    name = object_id.hex()
    try:
        content = zlib.decompress((objects / name[:2] / name[2:]).read_bytes())
    except (FileNotFoundError, zlib.error):
        return None
    header = _HEADER.match(content)
    if not header or hashlib.sha1(content).digest() != object_id:
        return None
    return NUMBERS[header[1]], content[header.end() :]


def loose_pack(repository: Path, ids: Iterable[bytes], number: int, lookup: Lookup) -> PackRows:
    """Pack ``number``, of these loose objects; a damaged one counts as missing."""
    gathered = _Gathered()

    def fill(file: BinaryIO) -> None:
        file.write(pack_header(0))
        for object_id in sorted(ids):
            gathered.take(repository / "objects", object_id, file)
        gathered.offsets.append(file.tell())
        file.write(bytes(TRAILER))

    content = in_file(fill, repository)
    bases = array("i", [-1]) * len(gathered.ids)
    rows = Rows(gathered.ids, gathered.offsets, gathered.kinds, bases)
    return PackRows(None, number, draw_chart(gathered.survey, rows, lookup), content)


@define
class _Gathered:
    survey: Survey = Factory(Survey)
    ids: list[bytes] = Factory(list)
    offsets: array[int] = Factory(lambda: array("Q"))
    kinds: bytearray = Factory(bytearray)

    def take(self, objects: Path, object_id: bytes, file: BinaryIO) -> None:
        found = loose_object(objects, object_id)
        if found is None:
            return
        kind, content = found
        if kind != BLOB and not self.survey.read(kind, object_id, content):
            return
        self.ids.append(object_id)
        self.kinds.append(kind)
        self.offsets.append(file.tell())
        file.write(entry_header(kind, len(content)) + zlib.compress(content, 1))
