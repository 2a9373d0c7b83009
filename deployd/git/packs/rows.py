"""A pack of a repository with its chart: ids, kinds and bases by row, and contents.

Both stay mapped as long as this lives, also when the files are deleted meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from attrs import define, field

from deployd.git.packs.chart import Chart, Ints
from deployd.git.packs.contents import Contents, object_content
from deployd.git.packs.deltas import made_size
from deployd.git.packs.entries import Buffer, header_at

NUMBER = 32
ROW = (1 << NUMBER) - 1
"""A place is a pack's number shifted left by the one, and a row, which is what the other leaves of it."""


@define(eq=False)
class PackRows:
    """Pack ``number`` of a repository. ``path`` is None when it is no file of it, but made of loose objects.

    ``content`` is the pack file, mapped.
    """

    path: Path | None
    number: int
    chart: Chart
    content: Buffer = field(repr=False)

    def __len__(self) -> int:
        return len(self.chart)

    @property
    def offsets(self) -> Ints:
        """Where each entry begins in the pack file, and, as one more, where the last one ends."""
        return self.chart.offsets

    @property
    def kinds(self) -> Ints:
        """The kinds of the objects, deltas resolved."""
        return self.chart.kinds

    @property
    def bases(self) -> Ints:
        """The row of each delta's base; -1 for what is whole."""
        return self.chart.bases

    @property
    def first(self) -> int:
        """The place of row 0."""
        return self.number << NUMBER

    def id(self, row: int) -> bytes:
        """The 20-byte id of a row."""
        return self.chart.id(row)

    def row(self, object_id: bytes) -> int | None:
        """The row of an id; None when it is not in this pack."""
        return self.chart.row(object_id)

    def object_size(self, row: int) -> int:
        """The size of an object in bytes, found without inflating it."""
        content, end = self.content, self.offsets[row + 1]
        header = header_at(content, self.offsets[row], end)
        return header.size if self.bases[row] < 0 else made_size(content, header.data, end)

    def read(self, row: int, contents: Contents) -> bytes:
        """The object of a row. Raise BadPack when the file is damaged."""
        return object_content(self.content, self.offsets, self.bases, row, contents, self.first)
