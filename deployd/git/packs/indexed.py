"""One pack as git itself finds its way in it, by its index: for who needs no chart, and nothing of other packs."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

from attrs import define
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import RawObjectID
from dulwich.pack import PackIndex, load_pack_index
from isal import isal_zlib

from deployd.git.kinds import DELTAS, OFS_DELTA
from deployd.git.packs.deltas import made_size
from deployd.git.packs.entries import HEADER, TRAILER, Header, header_at, inflate
from deployd.git.packs.mapping import map_path
from deployd.git.problems import BadPack

_PIECE = 1 << 20


@define(eq=False, slots=False)
class IndexedPack:
    """The pack at ``path``, which is mapped when it is first read; all that its deltas need is in it. ``close`` it.

    Ids have 20 bytes, offsets count from the pack's start. What is damaged raises BadPack, or whatever reading
    nonsense raises.
    """

    path: Path
    _index: PackIndex

    @classmethod
    def open(cls, index: Path) -> Self:
        """The pack that has this index; raise FileNotFoundError."""
        return cls(index.with_suffix(".pack"), load_pack_index(str(index), DEFAULT_OBJECT_FORMAT))

    def close(self) -> None:
        """Let its files go."""
        self._index.close()
        if "content" in vars(self):
            self.content.close()

    @cached_property
    def content(self) -> mmap.mmap:
        """The pack file. Raise FileNotFoundError when it is gone."""
        return map_path(self.path)

    @cached_property
    def end(self) -> int:
        """Where the last entry ends."""
        return len(self.content) - TRAILER

    def offset(self, object_id: bytes) -> int:
        """Where an object's entry is; raise KeyError when it is not in this pack."""
        offset: int = self._index.object_offset(RawObjectID(object_id))
        return offset

    def starting_with(self, prefix: bytes) -> Iterator[bytes]:
        """The ids that begin with these bytes."""
        return map(bytes, self._index.iter_prefix(prefix))

    def entries(self) -> list[tuple[int, bytes]]:
        """(offset, id) of each entry, in the pack's order."""
        return sorted((offset, bytes(name)) for name, offset, _ in self._index.iterentries())

    def header(self, offset: int) -> Header:
        """The header of the entry at ``offset``."""
        return header_at(self.content, offset, self.end)

    def base(self, offset: int, header: Header) -> int:
        """Where the base of the delta at ``offset`` is, which has this header."""
        base = header.base_offset if header.kind == OFS_DELTA else self.offset(header.base_id)
        if base < HEADER or base == offset:
            raise BadPack("a delta of a stored pack has no base")
        return base

    def kind(self, offset: int) -> int:
        """The kind of the object at ``offset``."""
        header = self.header(offset)
        while header.kind in DELTAS:
            offset = self.base(offset, header)
            header = self.header(offset)
        return header.kind

    def kind_and_size(self, offset: int) -> tuple[int, int]:
        """Kind and size of the object at ``offset``; hardly anything is inflated for it."""
        header = self.header(offset)
        if header.kind in DELTAS:
            return self.kind(self.base(offset, header)), made_size(self.content, header.data, self.end)
        return header.kind, header.size

    def inflated(self, header: Header) -> bytes:
        """What is in the entry with this header: an object, or a delta."""
        return inflate(self.content, header.data, self.end, header.size)[0]

    def pieces(self, header: Header) -> Iterator[bytes]:
        """The same, a piece at a time."""
        inflater, waiting, position = isal_zlib.decompressobj(), b"", header.data
        while not inflater.eof:
            if not waiting:
                waiting = self.content[position : position + _PIECE]
                position += _PIECE
                if not waiting:
                    raise BadPack("a stored pack ends in the middle of an entry")
            piece = inflater.decompress(waiting, _PIECE)
            waiting = inflater.unconsumed_tail
            if piece:
                yield piece
