"""Making the chart of a pack that is here already, for instance after a person ran git's own maintenance.

All commits, trees and tags are read once, each after the base of its delta; blobs are not. Nothing grows with the
number of tree entries but an unnamed file.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from attrs import define, field

from deployd.git.kinds import BLOB, DELTAS, OFS_DELTA, kind_name
from deployd.git.packs.chart import Chart
from deployd.git.packs.contents import Contents, object_content
from deployd.git.packs.drawing import Lookup, Rows, draw_chart
from deployd.git.packs.entries import TRAILER, Buffer, header_at
from deployd.git.packs.indexed import IndexedPack
from deployd.git.packs.survey import Survey
from deployd.git.problems import BadPack

_CONTENTS = 32 << 20


def chart_pack(path: Path, pack: Buffer, lookup: Lookup) -> Chart:
    """The chart of ``pack``, the file at ``path``, beside which is its index. ``lookup`` finds what is in other packs.

    Raise BadPack when it is damaged, FileNotFoundError when its index is gone.
    """
    with closing(IndexedPack.open(path.with_suffix(".idx"))) as indexed:
        entries = indexed.entries()
    if len(entries) != int.from_bytes(pack[8:12], "big"):
        raise BadPack("its index does not fit")
    offsets = array("Q", (offset for offset, _ in entries))
    return _Charting(pack, [name for _, name in entries], offsets).chart(lookup)


@define
class _Charting:
    pack: Buffer
    ids: list[bytes]
    offsets: array[int]
    survey: Survey = field(init=False, factory=Survey)
    _kinds: bytearray = field(init=False)
    _bases: array[int] = field(init=False)

    def chart(self, lookup: Lookup) -> Chart:
        # Every row's number in the survey is the row itself.
        for name in self.ids:
            self.survey.numbers[name]
        self.offsets.append(len(self.pack) - TRAILER)
        self._kinds = bytearray(len(self.ids))
        self._bases = array("i", [-1]) * len(self.ids)
        self._read_headers()
        self._read_objects()
        return draw_chart(self.survey, Rows(self.ids, self.offsets, self._kinds, self._bases), lookup)

    def _read_headers(self) -> None:
        kinds, bases, offsets = self._kinds, self._bases, self.offsets
        for row in range(len(kinds)):
            header = header_at(self.pack, offsets[row], offsets[row + 1])
            kinds[row] = header.kind
            if header.kind == OFS_DELTA:
                bases[row] = bisect_left(offsets, header.base_offset)
                if bases[row] >= row or offsets[bases[row]] != header.base_offset:
                    raise BadPack("a delta of a stored pack has a base where no object begins")
            elif header.kind in DELTAS:
                base = self.survey.numbers.get(header.base_id)
                if base is None:
                    raise BadPack("a delta of a stored pack has a base that is not in it")
                bases[row] = base
        for row in range(len(kinds)):
            chain = []
            while kinds[row] in DELTAS:
                chain.append(row)
                row = bases[row]
                if len(chain) > len(kinds):
                    raise BadPack("deltas of a stored pack go round in a circle")
            for delta in chain:
                kinds[delta] = kinds[row]

    def _read_objects(self) -> None:
        contents, survey = Contents(_CONTENTS), self.survey
        for row in self._bases_first():
            content = object_content(self.pack, self.offsets, self._bases, row, contents)
            name = self.ids[row]
            if not survey.read(self._kinds[row], name, content):
                raise BadPack(f"{kind_name(self._kinds[row])} {name.hex()} is malformed")

    def _bases_first(self) -> Iterator[int]:
        """All rows but blobs; deltas soon after their base, so that it is still at hand."""
        count = len(self._kinds)
        deltas, others = array("i", [-1]) * count, array("i", [-1]) * count
        for row in range(count - 1, -1, -1):
            base = self._bases[row]
            if base >= 0 and self._kinds[row] != BLOB:
                others[row], deltas[base] = deltas[base], row
        for root in range(count):
            if self._bases[root] >= 0 or self._kinds[root] == BLOB:
                continue
            waiting = [root]
            while waiting:
                row = waiting.pop()
                yield row
                delta = deltas[row]
                while delta >= 0:
                    waiting.append(delta)
                    delta = others[delta]
