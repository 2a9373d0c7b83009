"""The objects of one repository by id, for who asks a few questions and goes: nothing is read before it is needed.

``objects.Objects`` is for who asks many, or asks for history. Here packs are looked through newest first, the one that
had the last object before all; only their indexes and what is read of them is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from dulwich.pack import apply_delta

from deployd.git.kinds import DELTAS
from deployd.git.packs.indexed import IndexedPack
from deployd.git.packs.loose import loose_ids, loose_object

_T = TypeVar("_T")
_TRIES = 5


@define
class Packs:
    """Use it in a ``with`` statement, from one thread. Ids have 20 bytes.

    ``objects`` is the directory of that name. Packs may come and go meanwhile, as when they are consolidated.
    """

    objects: Path
    _stack: ExitStack = field(init=False, factory=ExitStack)
    _opened: list[IndexedPack] = field(init=False, factory=list)
    _closed: list[Path] = field(init=False, factory=list)
    _listed: int | None = field(init=False, default=None)

    def __enter__(self) -> Packs:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kind(self, object_id: bytes) -> int | None:
        """The kind of an object, or None when it is not here."""
        found = self.kind_and_size(object_id)
        return found[0] if found else None

    def kind_and_size(self, object_id: bytes) -> tuple[int, int] | None:
        """Kind and inflated size of an object, or None when it is not here. No packed object is inflated for it."""
        packed = self._ask(object_id, IndexedPack.kind_and_size)
        if packed is None and (loose := loose_object(self.objects, object_id)):
            return loose[0], len(loose[1])
        return packed

    def read(self, object_id: bytes) -> tuple[int, bytes]:
        """(kind, content) of an object; raise KeyError when it is not here."""
        found = self._ask(object_id, _read) or loose_object(self.objects, object_id)
        if found is None:
            raise KeyError(object_id)
        return found

    def starting_with(self, prefix: str) -> set[bytes]:
        """The ids that begin with the hex digits of ``prefix``, of which there are two or more."""
        whole_bytes = bytes.fromhex(prefix[: len(prefix) & ~1])

        def look() -> set[bytes]:
            found = set(loose_ids(self.objects))
            for pack in self._all():
                found.update(pack.starting_with(whole_bytes))
            return {name for name in found if name.hex().startswith(prefix)}

        return self._patiently(look)

    def _ask(self, object_id: bytes, question: Callable[[IndexedPack, int], _T]) -> _T | None:
        """The answer of a pack that has the object; None when none has, not even one that came meanwhile."""

        def look() -> _T | None:
            for pack, offset in self._packed(object_id):
                return question(pack, offset)
            if self._listed != self._mark():
                raise FileNotFoundError
            return None

        return self._patiently(look)

    def _patiently(self, look: Callable[[], _T]) -> _T:
        """Look again with other packs when one is gone: then another has what it had."""
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                return look()
            self._forget()
        return look()

    def _packed(self, object_id: bytes) -> Iterator[tuple[IndexedPack, int]]:
        for number, pack in enumerate(self._all()):
            with suppress(KeyError):
                offset = pack.offset(object_id)
                if number:
                    self._opened.remove(pack)
                    self._opened.insert(0, pack)
                yield pack, offset

    def _all(self) -> Iterator[IndexedPack]:
        yield from list(self._opened)
        if self._listed is None:
            self._listed = self._mark()
            paths = (self.objects / "pack").glob("*.idx")
            self._closed = sorted(paths, key=lambda path: path.stat().st_mtime)
        while self._closed:
            path = self._closed.pop()
            pack = IndexedPack.open(path)
            self._stack.callback(pack.close)
            self._opened.append(pack)
            yield pack

    def _mark(self) -> int:
        return (self.objects / "pack").stat().st_mtime_ns

    def _forget(self) -> None:
        self._stack.close()
        self._opened, self._closed, self._listed = [], [], None


def _read(pack: IndexedPack, offset: int) -> tuple[int, bytes]:
    header, deltas = pack.header(offset), []
    while header.kind in DELTAS:
        deltas.append(pack.inflated(header))
        offset = pack.base(offset, header)
        header = pack.header(offset)
    result = pack.inflated(header)
    for delta in reversed(deltas):
        result = b"".join(apply_delta(result, delta))
    return header.kind, result
