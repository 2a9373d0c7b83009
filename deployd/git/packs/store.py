"""The objects of one repository: is one there, of what kind, how large, and what is in it.

The first three need no inflating. Packs are looked through newest first, the one that had the last object before all.
One that is gone before it was opened has been merged with others, so it is looked for anew what there is.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import define, field
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, RawObjectID
from dulwich.pack import PackIndex, apply_delta, load_pack_index

from deployd.git.kinds import DELTAS, OFS_DELTA
from deployd.git.packs.entries import header_at, inflated, kind_and_size
from deployd.git.packs.scanning import TRAILER


@define(eq=False)
class _OnePack:
    path: Path
    index: PackIndex
    content: mmap.mmap

    def offset(self, object_id: bytes) -> int:
        offset: int = self.index.object_offset(RawObjectID(object_id))
        return offset

    def kind_and_size(self, offset: int) -> tuple[int, int]:
        return kind_and_size(self.content, offset, len(self.content) - TRAILER, self.offset)

    def read(self, offset: int) -> tuple[int, bytes]:
        content, deltas = self.content, []
        end = len(content) - TRAILER
        header = header_at(content, offset, end)
        while header.kind in DELTAS:
            deltas.append(inflated(content, header.data, end, header.size))
            offset = header.base_offset if header.kind == OFS_DELTA else self.offset(header.base_id)
            header = header_at(content, offset, end)
        result = inflated(content, header.data, end, header.size)
        for delta in reversed(deltas):
            result = b"".join(apply_delta(result, delta))
        return header.kind, result


@define
class Packs:
    """Opens what it needs when it needs it; use it in a ``with`` statement, from one thread. Ids have 20 bytes."""

    objects: Path
    _stack: ExitStack = field(init=False, factory=ExitStack)
    _opened: list[_OnePack] = field(init=False, factory=list)
    _closed: list[Path] | None = field(init=False, default=None)
    _store: DiskObjectStore | None = field(init=False, default=None)

    def __enter__(self) -> Packs:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kind(self, object_id: bytes) -> int | None:
        """The kind of an object, or None when it is not here."""
        found = self.kind_and_size(object_id)
        return found[0] if found else None

    def kind_and_size(self, object_id: bytes) -> tuple[int, int] | None:
        """Kind and inflated size of an object, or None when it is not here."""
        for pack, offset in self._packed(object_id):
            return pack.kind_and_size(offset)
        if not self._loose(object_id).exists():
            return None
        kind, content = self._read_loose(object_id)
        return kind, len(content)

    def read(self, object_id: bytes) -> tuple[int, bytes]:
        """(kind, content) of an object; raise KeyError when it is not here."""
        for pack, offset in self._packed(object_id):
            return pack.read(offset)
        return self._read_loose(object_id)

    def holding(self, object_id: bytes) -> list[Path]:
        """The pack files that have this object."""
        return [pack.path for pack, _ in self._packed(object_id)]

    def starting_with(self, prefix: str) -> Iterator[bytes]:
        """The ids that begin with the hex digits of ``prefix``."""
        for object_id in self._dulwich().iter_prefix(prefix.encode()):
            yield bytes.fromhex(object_id.decode())

    def _packed(self, object_id: bytes) -> Iterator[tuple[_OnePack, int]]:
        for number, pack in enumerate(self._all()):
            with suppress(KeyError):
                offset = pack.offset(object_id)
                if number:
                    self._opened.remove(pack)
                    self._opened.insert(0, pack)
                yield pack, offset

    def _all(self) -> Iterator[_OnePack]:
        yield from list(self._opened)
        if self._closed is None:
            self._closed = self._unopened()
        while self._closed:
            try:
                pack = self._open(self._closed.pop())
            except FileNotFoundError:
                self._closed = self._unopened()
                continue
            self._opened.append(pack)
            yield pack

    def _unopened(self) -> list[Path]:
        opened = {pack.path for pack in self._opened}
        ages = {}
        for path in (self.objects / "pack").glob("*.idx"):
            if path.with_suffix(".pack") not in opened:
                with suppress(FileNotFoundError):
                    ages[path] = path.stat().st_mtime
        return sorted(ages, key=ages.__getitem__)

    def _open(self, path: Path) -> _OnePack:
        pack = path.with_suffix(".pack")
        with pack.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._stack.callback(content.close)
        index = load_pack_index(str(path), DEFAULT_OBJECT_FORMAT)
        self._stack.callback(index.close)
        return _OnePack(pack, index, content)

    def _loose(self, object_id: bytes) -> Path:
        name = object_id.hex()
        return self.objects / name[:2] / name[2:]

    def _read_loose(self, object_id: bytes) -> tuple[int, bytes]:
        if not self._loose(object_id).exists():
            raise KeyError(object_id)
        kind, content = self._dulwich().get_raw(ObjectID(object_id.hex().encode()))
        return kind, content

    def _dulwich(self) -> DiskObjectStore:
        if self._store is None:
            self._store = DiskObjectStore(str(self.objects), object_format=DEFAULT_OBJECT_FORMAT)
            self._stack.callback(self._store.close)
        return self._store
