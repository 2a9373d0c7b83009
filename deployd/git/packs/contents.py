"""The content of objects in a pack that was checked; what was read lately is kept, for the next delta needs it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field
from dulwich.errors import ApplyDeltaError
from dulwich.pack import apply_delta

from deployd.git.packs.entries import Buffer, header_at, inflated
from deployd.git.problems import BadPack


@define
class Contents:
    """Objects by place, at most ``limit`` bytes; what was not asked for the longest goes first."""

    limit: int
    held: int = field(init=False, default=0)
    _contents: OrderedDict[int, bytes] = field(init=False, factory=OrderedDict)

    def get(self, place: int) -> bytes | None:
        """What the object at ``place`` has in it, if it is still here."""
        content = self._contents.get(place)
        if content is not None:
            self._contents.move_to_end(place)
        return content

    def put(self, place: int, content: bytes) -> None:
        """Keep ``content`` for a while; one that would drive out most of the others is not kept."""
        if place in self._contents or len(content) > self.limit // 4:
            return
        self._contents[place] = content
        self.held += len(content)
        while self.held > self.limit:
            self.held -= len(self._contents.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget all, as places are about to mean something else."""
        self._contents.clear()
        self.held = 0


def entry_content(pack: Buffer, offsets: Sequence[int], row: int) -> bytes:
    """The inflated entry of a row: an object, or a delta. ``offsets`` has the end of the last entry, too."""
    end = offsets[row + 1]
    header = header_at(pack, offsets[row], end)
    return inflated(pack, header.data, end, header.size)


def object_content(
    pack: Buffer, offsets: Sequence[int], bases: Sequence[int], row: int, contents: Contents, first: int = 0
) -> bytes:
    """The object of a row; ``first`` is the place of row 0. Raise BadPack when the pack is damaged."""
    deltas: list[int] = []
    content = contents.get(first + row)
    while content is None and bases[row] >= 0:
        deltas.append(row)
        row = bases[row]
        content = contents.get(first + row)
    if content is None:
        content = entry_content(pack, offsets, row)
        contents.put(first + row, content)
    for delta in reversed(deltas):
        try:
            content = b"".join(apply_delta(content, entry_content(pack, offsets, delta)))
        except (ApplyDeltaError, AssertionError, ValueError, IndexError) as error:
            raise BadPack("a delta of a stored pack does not fit its base") from error
        contents.put(first + delta, content)
    return content
