"""Packs made of the entries of other packs, copied as they are: nothing is inflated that can go along deflated.

Neighbours whose deltas stay right are one piece, so a whole pack is one copy. A delta names its base by how far back it
is: where entries between the two are left out, or the base comes from another pack, the delta gets a new header. What
has lost its base becomes a delta of its base's base, or whole.

Note [Back only]
~~~~~~~~~~~~~~~~
Every delta that is written points back at what has been written before it, unless its pack is copied whole. So no cycle
can come up, although two packs may have the same two objects, each the other's base. A base that is still to be
written, maybe from another pack, is written first, from the pack of the delta that needs it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from functools import reduce
from itertools import compress
from typing import BinaryIO

from attrs import define, field, frozen

from deployd.git.packs.bridging import bridge, delta_bytes, read_delta
from deployd.git.packs.contents import entry_content
from deployd.git.packs.entries import header_at
from deployd.git.packs.objects import Objects
from deployd.git.packs.rows import NUMBER, ROW, PackRows
from deployd.git.packs.writing import PackWriter, delta_header

_WHOLE = -1
_BRIDGE, _SHORT = 8, 1 << 20
"""So many lost bases in a row are bridged, by deltas of no more than so many bytes."""
_CHAIN = 50
"""A delta gets no base in another pack whose own chain is this long: each link costs whoever reads the object."""


def copy_entries(
    objects: Objects,
    places: Iterable[int],
    out: BinaryIO,
    *,
    ofs: bool = True,
    has_base: Callable[[bytes], bool] = lambda _: False,
    grown: Callable[[int], object] = lambda _: None,
) -> bytes:
    """Write a pack of the objects at ``places``, in any order, each once, to ``out``; return the pack's trailer.

    ``ofs``: the reader understands distances. ``has_base`` says whether the reader has an object (20-byte id), which
    then may be the base of a delta without being sent. ``grown`` hears how many bytes ``out`` has.
    """
    return _Copy(objects, PackWriter(out, grown), ofs, has_base).run(places)


@frozen
class Copied:
    """A pack that was written, by its rows: ``places`` they come from, ``offsets`` and, as one more, where the last one
    ends, ``bases``: rows, or -1."""

    trailer: bytes
    places: array[int]
    offsets: array[int]
    bases: array[int]


def copy_to_pack(objects: Objects, places: Iterable[int], out: BinaryIO) -> Copied:
    """As ``copy_entries``, for a pack that stands alone; say what came to be where."""
    copy = _Copy(objects, PackWriter(out, lambda _: None), True, lambda _: False)
    return copy.copied(copy.run(places))


@define(eq=False)
class _Source:
    """One pack. ``chosen``: by row, 1 while it is to be written. ``shifts``: by row, how much further on than in the
    pack an entry came to be, None for what is not written."""

    pack: PackRows
    chosen: bytearray = field(init=False)
    shifts: list[int | None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.chosen = bytearray(len(self.pack))
        self.shifts = [None] * len(self.pack)

    def has(self, row: int) -> bool:
        return bool(self.chosen[row]) or self.shifts[row] is not None

    def position(self, row: int) -> int | None:
        shift = self.shifts[row]
        return None if shift is None else self.pack.offsets[row] + shift


@define
class _Copy:
    objects: Objects
    writer: PackWriter
    ofs: bool
    has_base: Callable[[bytes], bool]
    _sources: dict[int, _Source] = field(init=False, factory=dict)
    _largest: _Source | None = field(init=False, default=None)
    _spots: dict[bytes, tuple[_Source, int]] = field(init=False, factory=dict)
    """Who writes an object, by id, except for those that the largest pack does."""
    _moved: dict[int, int] = field(init=False, factory=dict)
    """By place: the place of its new base, or _WHOLE."""

    def run(self, places: Iterable[int]) -> bytes:
        self._choose(places)
        if len(self._sources) > 1:
            self._drop_doubles()
        self.writer.begin(sum(source.chosen.count(1) for source in self._sources.values()))
        for source in self._sources.values():
            self._copy(source)
        return self.writer.end()

    def copied(self, trailer: bytes) -> Copied:
        """The new rows. Only where all bases are in the new pack or gone."""
        places, offsets = array("Q"), array("Q")
        for source in self._sources.values():
            for row, (offset, shift) in enumerate(zip(source.pack.offsets, source.shifts, strict=False)):
                if shift is not None:
                    places.append(source.pack.first + row)
                    offsets.append(offset + shift)
        order = sorted(range(len(places)), key=offsets.__getitem__)
        places, offsets = (array("Q", map(column.__getitem__, order)) for column in (places, offsets))
        rows = {number: array("i", bytes(4 * len(source.pack))) for number, source in self._sources.items()}
        for row, place in enumerate(places):
            rows[place >> NUMBER][place & ROW] = row
        bases = array("i")
        for place in places:
            base = self._base(place)
            bases.append(_WHOLE if base == _WHOLE else rows[base >> NUMBER][base & ROW])
        offsets.append(self.writer.position - len(trailer))
        return Copied(trailer, places, offsets, bases)

    def _choose(self, places: Iterable[int]) -> None:
        number, chosen = -1, bytearray()
        for place in places:
            if place >> NUMBER != number:
                number = place >> NUMBER
                if number not in self._sources:
                    self._sources[number] = _Source(self.objects.packs[number])
                chosen = self._sources[number].chosen
            chosen[place & ROW] = 1
        # The older packs first, as they have the bases of what was pushed later.
        self._sources = dict(sorted(self._sources.items()))

    def _drop_doubles(self) -> None:
        self._largest = largest = max(self._sources.values(), key=lambda source: source.chosen.count(1))
        for source in self._sources.values():
            if source is largest:
                continue
            for row in compress(range(len(source.pack)), source.chosen):
                name = source.pack.id(row)
                if self._spot(name):
                    source.chosen[row] = 0
                else:
                    self._spots[name] = source, row

    def _spot(self, name: bytes) -> tuple[_Source, int] | None:
        """Who writes an object, or has written it."""
        found = self._spots.get(name)
        if found is None and self._largest is not None:
            row = self._largest.pack.row(name)
            if row is not None and self._largest.has(row):
                return self._largest, row
        return found

    def _copy(self, source: _Source) -> None:
        pack, shifts, writer = source.pack, source.shifts, self.writer
        content, offsets, bases, size = pack.content, pack.offsets, pack.bases, len(pack)
        begin, next_row, shift = offsets[0], 0, writer.position - offsets[0]
        if self.ofs and source.chosen.count(1) == size:
            writer.copy(content, begin, offsets[size])
            source.shifts = [shift] * size
            return
        near: list[int | None] = shifts if self.ofs else [None] * size
        for row in compress(range(size), source.chosen):
            base = bases[row]
            if row == next_row and (base < 0 or near[base] == shift):
                shifts[row] = shift
                next_row += 1
                continue
            writer.copy(content, begin, offsets[next_row])
            begin = offsets[row]
            shift = writer.position - begin
            if base < 0 or near[base] == shift:
                shifts[row] = shift
            else:
                self._write_bases(source, row)
                begin = self._write_head(source, row)
                shift = writer.position - begin
            next_row = row + 1
        writer.copy(content, begin, offsets[next_row])

    def _write_bases(self, source: _Source, row: int) -> None:
        """Have the bases of a piece written first (Note [Back only])."""
        waiting = []
        while (row := source.pack.bases[row]) >= 0 and source.shifts[row] is None:
            if not source.chosen[row]:
                name = source.pack.id(row)
                spot = self._spot(name)
                if spot is None or spot[0].shifts[spot[1]] is not None:
                    break
                spot[0].chosen[spot[1]] = 0
                self._spots[name] = source, row
            waiting.append(row)
        for base in reversed(waiting):
            source.chosen[base] = 0
            self.writer.copy(source.pack.content, self._write_head(source, base), source.pack.offsets[base + 1])

    def _write_head(self, source: _Source, row: int) -> int:
        """Write what is new of an entry; return where in its pack the rest of it begins."""
        pack, writer, base = source.pack, self.writer, source.pack.bases[row]
        start = pack.offsets[row]
        source.shifts[row] = writer.position - start
        if base < 0:
            return start
        pointer = self._pointer(source, row, base)
        if pointer is not None:
            head, rest = delta_header(pack.content, start, pointer)
            writer.put(head)
            return rest
        if not self._bridge(source, row, base):
            self._moved[pack.first + row] = _WHOLE
            kind, content = self.objects.read(pack.first + row)
            writer.whole(kind, content)
        return pack.offsets[row + 1]

    def _bridge(self, source: _Source, row: int, base: int) -> bool:
        """Write a delta on what its lost base was a delta of, or on what that was one of; return whether it can be."""
        pack = source.pack
        lost, pointer = [row, base], None
        while pointer is None and len(lost) <= _BRIDGE and (base := pack.bases[base]) >= 0:
            pointer = self._pointer(source, row, base)
            lost.append(base)
        if pointer is not None and all(_stored(pack, each) <= _SHORT for each in lost[:-1]):
            deltas = (read_delta(entry_content(pack.content, pack.offsets, each)) for each in lost[:-1])
            delta = reduce(bridge, deltas)
            data = delta_bytes(delta)
            # git takes no delta of less than four bytes.
            if 4 <= len(data) <= delta.size // 2:
                self.writer.delta(pointer, data)
                return True
        return False

    def _pointer(self, source: _Source, row: int, base: int) -> int | bytes | None:
        """What a delta in the new pack says of its base; None when it has none any more."""
        position = source.position(base)
        if position is not None and base != source.pack.bases[row]:
            self._moved[source.pack.first + row] = source.pack.first + base
        if position is None:
            name = source.pack.id(base)
            spot = self._spot(name)
            if spot is not None and self._chain(spot[0].pack.first | spot[1]) < _CHAIN:
                self._moved[source.pack.first | row] = spot[0].pack.first | spot[1]
                position = spot[0].position(spot[1])
            elif self.has_base(name):
                return name
        if position is None:
            return None
        return self.writer.position - position if self.ofs else source.pack.id(base)

    def _chain(self, place: int) -> int:
        """How many deltas the entry at ``place`` stands on, itself included, in the new pack; no more than _CHAIN."""
        for length in range(_CHAIN):
            place = self._base(place)
            if place == _WHOLE:
                return length
        return _CHAIN

    def _base(self, place: int) -> int:
        moved = self._moved.get(place)
        if moved is not None:
            return moved
        row = self._sources[place >> NUMBER].pack.bases[place & ROW]
        return _WHOLE if row < 0 else place & ~ROW | row


def _stored(pack: PackRows, row: int) -> int:
    """The bytes of an entry, inflated: of an object or of a delta."""
    return header_at(pack.content, pack.offsets[row], pack.offsets[row + 1]).size
