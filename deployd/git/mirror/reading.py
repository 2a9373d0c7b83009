"""What a mirror holds, read fast: thousands of files of one commit, each once, most of them right where they lie.

Everything in a mirror was checked when it came, so what cannot be read here has been damaged since: ``Damaged`` says
so, and the mirror, which can be fetched anew, is thrown away.
"""

from __future__ import annotations

import mmap
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import cast

from attrs import define, field
from dulwich.errors import ApplyDeltaError
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import RawObjectID
from dulwich.pack import PackIndex, apply_delta, load_pack_index
from isal import isal_zlib

from deployd.git.kinds import DELTAS, REF_DELTA
from deployd.git.packs.deltas import delta_pieces, made_size
from deployd.git.packs.mapping import in_file, map_path
from deployd.git.problems import BadPack

CACHE_BYTES = 32 << 20
LARGE = 4 << 20
"""An object of more bytes is not held in memory whole, nor is what it is made of."""
_PIECE = 1 << 20
_WRONG: tuple[type[Exception], ...] = (
    cast(type[Exception], isal_zlib.error),
    ApplyDeltaError,
    BadPack,
    AssertionError,
    FileNotFoundError,
    KeyError,
    ValueError,
    IndexError,
    OverflowError,
    struct.error,
    TypeError,
)

Place = tuple["MirrorPack", int]
"""A pack and where in it an entry begins."""


class Damaged(Exception):
    """What a mirror has on disk is not what was written there; the text says what."""


@define(eq=False)
class MirrorPack:
    """One pack, mapped into memory; positions count from its start. Everything a delta needs is in its own pack."""

    path: Path
    index: PackIndex
    content: mmap.mmap

    def entry(self, offset: int) -> tuple[int, int, int]:
        """(kind, inflated size, position of what follows these two) of the entry at ``offset``."""
        content = self.content
        byte = content[offset]
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        offset += 1
        while byte & 0x80:
            byte = content[offset]
            size |= (byte & 0x7F) << shift
            offset += 1
            shift += 7
        return kind, size, offset

    def base(self, kind: int, offset: int, position: int) -> tuple[int, int]:
        """(offset of the base, position of the delta) of a delta at ``offset``; ``position`` as ``entry`` gives it."""
        if kind == REF_DELTA:
            return self.index.object_offset(RawObjectID(self.content[position : position + 20])), position + 20
        byte = self.content[position]
        distance = byte & 0x7F
        position += 1
        while byte & 0x80:
            byte = self.content[position]
            distance = (distance + 1) << 7 | byte & 0x7F
            position += 1
        if not 0 < distance < offset:
            raise ValueError("a delta's base lies nowhere")
        return offset - distance, position

    def inflated(self, position: int, size: int) -> bytes:
        """The ``size`` bytes that are deflated at ``position``."""
        # What cannot be deflated grows by less than that.
        deflated = self.content[position : position + size + (size >> 8) + 64]
        content: bytes = isal_zlib.decompressobj().decompress(deflated, size + 1)
        if len(content) != size:
            raise ValueError("an object has another size than it says")
        return content

    def pieces(self, position: int) -> Iterator[bytes]:
        """What is deflated at ``position``, a piece at a time."""
        inflater, waiting = isal_zlib.decompressobj(), b""
        while not inflater.eof:
            if not waiting:
                waiting = self.content[position : position + _PIECE]
                position += _PIECE
                if not waiting:
                    raise ValueError("the pack ends in the middle of an entry")
            piece = inflater.decompress(waiting, _PIECE)
            waiting = inflater.unconsumed_tail
            if piece:
                yield piece


@define
class MirrorReader:
    """The objects of the mirror whose ``objects`` directory this is, in a ``with`` statement. Ids have 20 bytes.

    It sees the packs that were there when it was opened. All may raise Damaged, and KeyError for what is not there.
    """

    objects: Path
    packs: list[MirrorPack] = field(init=False, factory=list)
    _stack: ExitStack = field(init=False, factory=ExitStack)
    _cache: OrderedDict[Place, tuple[int, bytes]] = field(init=False, factory=OrderedDict)
    _cached: int = field(init=False, default=0)

    def __enter__(self) -> MirrorReader:
        with self._stack as stack, sound():
            for path in (self.objects / "pack").glob("*.idx"):
                index = load_pack_index(str(path), DEFAULT_OBJECT_FORMAT)
                stack.callback(index.close)
                self.packs.append(
                    MirrorPack(
                        path.with_suffix(".pack"), index, stack.enter_context(map_path(path.with_suffix(".pack")))
                    )
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def place(self, object_id: bytes) -> Place:
        """Where an object is."""
        for number, pack in enumerate(self.packs):
            try:
                offset = pack.index.object_offset(RawObjectID(object_id))
            except KeyError:
                continue
            except _WRONG as error:
                raise Damaged("an index is damaged") from error
            if number:
                # Where one was found the next one is likely to be.
                self.packs.insert(0, self.packs.pop(number))
            return pack, offset
        raise KeyError(object_id)

    def kind(self, place: Place) -> int:
        """The kind of the object there."""
        pack, offset = place
        with sound():
            kind, _, position = pack.entry(offset)
            while kind in DELTAS:
                offset, _ = pack.base(kind, offset, position)
                kind, _, position = pack.entry(offset)
            return kind

    def kind_and_size(self, place: Place) -> tuple[int, int]:
        """Kind and inflated size of the object there, without inflating it."""
        pack, offset = place
        with sound():
            kind, size, position = pack.entry(offset)
            if kind in DELTAS:
                base, position = pack.base(kind, offset, position)
                return self.kind((pack, base)), made_size(pack.content, position, len(pack.content))
            return kind, size

    def read(self, place: Place) -> tuple[int, bytes]:
        """(kind, content) of the object there, which is not large."""
        with sound():
            return self._content(place)

    def pieces(self, place: Place) -> Iterator[bytes | memoryview]:
        """The content of the object there, however large; each piece is good until the next one is asked for."""
        pack, offset = place
        with sound():
            chain: list[int] = []
            kind, _, position = pack.entry(offset)
            while kind in DELTAS:
                offset, position = pack.base(kind, offset, position)
                chain.append(position)
                kind, _, position = pack.entry(offset)
            yield from self._unfolded(pack, position, chain) if chain else pack.pieces(position)

    def _content(self, place: Place) -> tuple[int, bytes]:
        pack, offset = place
        chain: list[tuple[int, int, int]] = []
        while (found := self._cache.get((pack, offset))) is None:
            kind, size, position = pack.entry(offset)
            if kind not in DELTAS:
                found = kind, pack.inflated(position, size)
                self._keep((pack, offset), found)
                break
            base, position = pack.base(kind, offset, position)
            chain.append((offset, position, size))
            offset = base
        kind, content = found
        for offset, position, size in reversed(chain):
            content = b"".join(apply_delta(content, pack.inflated(position, size)))
            self._keep((pack, offset), (kind, content))
        return kind, content

    def _keep(self, place: Place, found: tuple[int, bytes]) -> None:
        """The next one is likely to be a delta of one that was read lately."""
        self._cache[place] = found
        self._cached += len(found[1])
        while self._cached > CACHE_BYTES:
            _, (_, gone) = self._cache.popitem(last=False)
            self._cached -= len(gone)

    def _unfolded(self, pack: MirrorPack, whole: int, chain: list[int]) -> Iterator[bytes | memoryview]:
        base = self._mapped(pack.pieces(whole))
        try:
            while chain:
                with closing(self._mapped(pack.pieces(chain.pop()))) as delta:
                    if not chain:
                        yield from delta_pieces(base, delta)
                        return
                    made = self._mapped(delta_pieces(base, delta))
                base.close()
                base = made
        finally:
            base.close()

    def _mapped(self, pieces: Iterable[bytes | memoryview]) -> mmap.mmap:
        """``pieces`` in a file that has no name."""
        return in_file(lambda file: file.writelines(pieces), self.objects)


@contextmanager
def sound() -> Iterator[None]:
    """Around what can only go wrong if the mirror is damaged."""
    try:
        yield
    except _WRONG as error:
        raise Damaged(f"an object is damaged: {error}") from error
