"""Whatever is chosen from whatever packs goes out, once, and as it was."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import OFS_DELTA, REF_DELTA
from deployd.git.packs.copying import copy_entries
from deployd.git.packs.entries import header_at, inflate_into
from deployd.git.packs.objects import Objects
from deployd.git.repositories import Repositories
from tests.git.packs.stock import Entry, blob_id, read_blobs, store_pack

CONTENTS = [b"as all " * 20 + b"%d " % number * (1 + number * 37 % 90) for number in range(9)]


@frozen
class Wish:
    """Some of what some packs have; ``had`` are the ids that the reader has."""

    packs: list[list[Entry]]
    places: list[int]
    had: frozenset[bytes]
    ofs: bool


@st.composite
def packs(draw: st.DrawFn) -> list[Entry]:
    """One pack: any objects in any order, deltas of any others that do not stand on them."""
    contents = draw(st.lists(st.sampled_from(CONTENTS), min_size=1, unique=True))
    ranks = draw(st.permutations(range(len(contents))))
    entries = []
    for number, content in enumerate(contents):
        base = draw(st.none() | st.integers(0, len(contents) - 1))
        if base is None or ranks[base] >= ranks[number]:
            entries.append(Entry(content))
        else:
            entries.append(Entry(content, base, base > number or draw(st.booleans())))
    return entries


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    """Places of up to three packs, some of them perhaps twice."""
    chosen = draw(st.lists(packs(), min_size=1, max_size=3))
    everything = [number << 32 | row for number, pack in enumerate(chosen) for row in range(len(pack))]
    places = everything if draw(st.booleans()) else draw(st.lists(st.sampled_from(everything)))
    had = draw(st.frozensets(st.sampled_from([blob_id(content) for content in CONTENTS])))
    return Wish(chosen, places, had, draw(st.booleans()))


class CopyTests(SynchronousTestCase):
    """Packs in, a pack out."""

    def open(self, *stored: list[Entry]) -> Objects:
        repositories = Repositories(Path(self.mktemp()))
        repositories.root.mkdir()
        repositories.create("webapp")
        for number, entries in enumerate(stored):
            store_pack(repositories.path("webapp"), entries, f"{number:040}")
        objects = Objects(repositories.path("webapp"))
        objects.refresh()
        self.addCleanup(objects.close)
        return objects

    def copy(
        self, objects: Objects, places: Iterable[int], had: frozenset[bytes] = frozenset(), ofs: bool = True
    ) -> bytes:
        out, sizes = io.BytesIO(), list[int]()
        trailer = copy_entries(objects, places, out, ofs=ofs, has_base=had.__contains__, grown=sizes.append)
        pack = out.getvalue()
        self.assertEqual(pack[-20:], trailer)
        self.assertEqual(sizes[-1], len(pack))
        return pack

    @given(wishes())
    def test_any_choice_arrives(self, wish: Wish) -> None:
        """Exactly the chosen objects, none twice, each delta on one that is there or that the reader has."""
        objects = self.open(*wish.packs)
        pack = self.copy(objects, wish.places, wish.had, wish.ofs)
        contents = {blob_id(content): content for content in CONTENTS}
        had = {name: contents[name] for name in wish.had}
        wanted = {objects.id(place) for place in wish.places}
        self.assertEqual(read_blobs(pack, had), {name: contents[name] for name in wanted})
        if not wish.ofs:
            self.assertNotIn(OFS_DELTA, kinds(pack))

    def test_a_whole_pack_is_the_same_bytes(self) -> None:
        """All of one pack makes that pack again."""
        objects = self.open([Entry(CONTENTS[0]), Entry(CONTENTS[1], 0), Entry(CONTENTS[2], 1, True)])
        self.assertEqual(self.copy(objects, [2, 0, 1]), objects.packs[0].content[:])

    def test_a_gap_between_delta_and_base(self) -> None:
        """The delta stays one, with a shorter way back."""
        objects = self.open([Entry(CONTENTS[0]), Entry(CONTENTS[8]), Entry(CONTENTS[1], 0)])
        pack = self.copy(objects, [0, 2])
        self.assertEqual(kinds(pack), [3, OFS_DELTA])
        self.assertEqual(read_blobs(pack).keys(), {blob_id(CONTENTS[0]), blob_id(CONTENTS[1])})

    def test_a_base_that_the_reader_has(self) -> None:
        """It is named, and not sent."""
        objects = self.open([Entry(CONTENTS[0]), Entry(CONTENTS[1], 0)])
        self.assertEqual(kinds(self.copy(objects, [1], frozenset({blob_id(CONTENTS[0])}))), [REF_DELTA])

    def test_a_lost_base_that_is_a_delta(self) -> None:
        """What stood on it stands on its base, in the pack or with the reader."""
        objects = self.open([Entry(CONTENTS[0]), Entry(CONTENTS[1], 0), Entry(CONTENTS[2], 1), Entry(CONTENTS[3], 2)])
        pack = self.copy(objects, [0, 3])
        self.assertEqual(kinds(pack), [3, OFS_DELTA])
        self.assertEqual(read_blobs(pack).keys(), {blob_id(CONTENTS[0]), blob_id(CONTENTS[3])})
        had = {blob_id(CONTENTS[0]): CONTENTS[0]}
        pack = self.copy(objects, [3], frozenset(had))
        self.assertEqual(kinds(pack), [REF_DELTA])
        self.assertEqual(read_blobs(pack, had), {blob_id(CONTENTS[3]): CONTENTS[3]})

    def test_a_base_that_nobody_has(self) -> None:
        """What stood on it becomes whole, and what stands on that is copied."""
        objects = self.open([Entry(CONTENTS[0]), Entry(CONTENTS[1], 0), Entry(CONTENTS[2], 1)])
        self.assertEqual(kinds(self.copy(objects, [1, 2])), [3, OFS_DELTA])

    def test_a_thin_pack_that_was_completed(self) -> None:
        """The second copy of the base is left out; the delta stands on the first, across packs."""
        objects = self.open(
            [Entry(CONTENTS[0]), Entry(CONTENTS[1], 0), Entry(CONTENTS[5])],
            [Entry(CONTENTS[2], 1, True), Entry(CONTENTS[1])],
        )
        places = [0, 1, 2, 1 << 32, 1 << 32 | 1]
        self.assertEqual(kinds(self.copy(objects, places)), [3, OFS_DELTA, 3, OFS_DELTA])

    def test_two_that_are_each_the_others_base(self) -> None:
        """One of them becomes whole."""
        objects = self.open([Entry(CONTENTS[0]), Entry(CONTENTS[1], 0)], [Entry(CONTENTS[1]), Entry(CONTENTS[0], 0)])
        for places in ([1, 1 << 32 | 1], [0, 1 << 32], [0, 1, 1 << 32, 1 << 32 | 1]):
            self.assertEqual(len(read_blobs(self.copy(objects, places))), 2)

    def test_chains_do_not_grow_from_pack_to_pack(self) -> None:
        """A hundred pushes, each a delta of the one before: no object stands on more than fifty others."""
        contents = [b"%d" % number for number in range(100)]
        stored = [[Entry(new, 1, True), Entry(old)] for old, new in pairwise(contents)]
        objects = self.open([Entry(contents[0])], *stored)
        places = [pack.first + row for pack in objects.packs for row in range(len(pack))]
        pack = self.copy(objects, places)
        self.assertEqual(len(read_blobs(pack)), 100)
        self.assertEqual([number for number, kind in enumerate(kinds(pack)) if kind == 3], [1, 51])

    def test_large_objects_are_written_in_pieces(self) -> None:
        """Whole ones as they are, and those that have lost their base."""
        large = [bytes(range(256)) * 3000, bytes(range(255, -1, -1)) * 3000]
        objects = self.open([Entry(large[0]), Entry(large[1], 0)])
        self.assertEqual(read_blobs(self.copy(objects, [1])), {blob_id(large[1]): large[1]})


def kinds(pack: bytes) -> list[int]:
    """The kinds of a pack's entries as they stand in it."""
    found, position = [], 12
    while position < len(pack) - 20:
        header = header_at(pack, position, len(pack) - 20)
        found.append(header.kind)
        position = inflate_into(pack, header.data, len(pack) - 20, header.size, lambda _: None)
    return found
