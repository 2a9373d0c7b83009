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
from dulwich.pack import apply_delta
from isal import isal_zlib

from deployd.git.kinds import DELTAS
from deployd.git.packs.deltas import delta_pieces
from deployd.git.packs.entries import Header
from deployd.git.packs.indexed import IndexedPack
from deployd.git.packs.mapping import in_file
from deployd.git.problems import BadPack

CACHE_BYTES = 32 << 20
LARGE = 4 << 20
"""An object of more bytes is not held in memory whole, nor is what it is made of."""
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

Place = tuple[IndexedPack, int]
"""A pack and where in it an entry begins."""


class Damaged(Exception):
    """What a mirror has on disk is not what was written there; the text says what."""


@define
class MirrorReader:
    """The objects of the mirror whose ``objects`` directory this is, in a ``with`` statement. Ids have 20 bytes.

    It sees the packs that were there when it was opened. All may raise Damaged, and KeyError for what is not there.
    """

    objects: Path
    packs: list[IndexedPack] = field(init=False, factory=list)
    _stack: ExitStack = field(init=False, factory=ExitStack)
    _cache: OrderedDict[Place, tuple[int, bytes]] = field(init=False, factory=OrderedDict)
    _cached: int = field(init=False, default=0)

    def __enter__(self) -> MirrorReader:
        with self._stack as stack, sound():
            for path in (self.objects / "pack").glob("*.idx"):
                pack = IndexedPack.open(path)
                stack.callback(pack.close)
                # It stays readable, whatever becomes of the file.
                _ = pack.content
                self.packs.append(pack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def place(self, object_id: bytes) -> Place:
        """Where an object is."""
        for number, pack in enumerate(self.packs):
            try:
                offset = pack.offset(object_id)
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
            return pack.kind(offset)

    def kind_and_size(self, place: Place) -> tuple[int, int]:
        """Kind and inflated size of the object there, without inflating it."""
        pack, offset = place
        with sound():
            return pack.kind_and_size(offset)

    def read(self, place: Place) -> tuple[int, bytes]:
        """(kind, content) of the object there, which is not large."""
        with sound():
            return self._content(place)

    def pieces(self, place: Place) -> Iterator[bytes | memoryview]:
        """The content of the object there, however large; each piece is good until the next one is asked for."""
        pack, offset = place
        with sound():
            chain: list[Header] = []
            header = pack.header(offset)
            while header.kind in DELTAS:
                chain.append(header)
                offset = pack.base(offset, header)
                header = pack.header(offset)
            yield from self._unfolded(pack, header, chain) if chain else pack.pieces(header)

    def _content(self, place: Place) -> tuple[int, bytes]:
        pack, offset = place
        chain: list[tuple[int, Header]] = []
        while (found := self._cache.get((pack, offset))) is None:
            header = pack.header(offset)
            if header.kind not in DELTAS:
                found = header.kind, pack.inflated(header)
                self._keep((pack, offset), found)
                break
            chain.append((offset, header))
            offset = pack.base(offset, header)
        kind, content = found
        for offset, header in reversed(chain):
            content = b"".join(apply_delta(content, pack.inflated(header)))
            self._keep((pack, offset), (kind, content))
        return kind, content

    def _keep(self, place: Place, found: tuple[int, bytes]) -> None:
        """The next one is likely to be a delta of one that was read lately."""
        self._cache[place] = found
        self._cached += len(found[1])
        while self._cached > CACHE_BYTES:
            _, (_, gone) = self._cache.popitem(last=False)
            self._cached -= len(gone)

    def _unfolded(self, pack: IndexedPack, whole: Header, chain: list[Header]) -> Iterator[bytes | memoryview]:
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
