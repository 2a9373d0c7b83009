"""Charts that are missing or wrong, packs that come and go, loose objects, and packs made to be expensive."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import BLOB, COMMIT, NAMES
from deployd.git.packs.chart import chart_path
from deployd.git.packs.objects import Objects
from deployd.git.packs.reach import Reach
from deployd.git.packs.store import Packs
from deployd.git.problems import BadPack
from tests.git.packs.histories import History, history, repository, store

LINEAR: list[Any] = [
    ([], [("write", ("a",), "100644", 1), ("write", ("d", "a"), "100644", 2)]),
    ([0], [("write", ("d", "b"), "100755", 3)]),
    ([1], [("revert", 0)]),
]


class RepositoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.made = history(LINEAR)
        self.where = repository(Path(self.mktemp()))

    def store_commit(self, number: int) -> Path:
        """The pack of one push."""
        before = self.made.reachable(self.made.commits[:number])
        return store(self.where, self.made, self.made.reachable([self.made.commits[number]]) - before)

    def store_all(self) -> Path:
        return store(self.where, self.made, self.made.objects)

    def opened(self) -> Objects:
        objects = Objects(self.where)
        self.addCleanup(objects.close)
        objects.refresh()
        return objects

    def assert_whole(self, objects: Objects) -> None:
        """Everything is there and can be read, and the graph knows it."""
        for name, (kind, content) in self.made.objects.items():
            place = objects.place(bytes.fromhex(name))
            assert place is not None
            self.assertEqual((objects.id(place).hex(), objects.read(place)), (name, (kind, content)))
        reach = Reach(objects, [bytes.fromhex(self.made.commits[-1])])
        found = {objects.id(place).hex() for place in objects.graph.introduced(reach.commits)}
        self.assertEqual(found, set(self.made.objects))


class SidecarTests(RepositoryCase):
    def test_a_chart_is_made_once(self) -> None:
        """And then only opened."""
        side = chart_path(self.store_all())
        self.assertGreater(Objects(self.where).uncharted(), 0)
        self.assert_whole(self.opened())
        self.assertEqual(Objects(self.where).uncharted(), 0)
        mark = side.stat()
        self.assert_whole(self.opened())
        self.assertEqual((side.stat().st_ino, side.stat().st_mtime_ns), (mark.st_ino, mark.st_mtime_ns))
        self.assertEqual([path.name for path in side.parent.iterdir()], [side.name])

    def test_a_chart_that_is_not_right_is_made_again(self) -> None:
        """Empty, cut short, longer, of another version, of another pack, with any byte changed."""
        pack = self.store_all()
        self.opened()
        side = chart_path(pack)
        good = side.read_bytes()
        other = store(repository(Path(self.mktemp())), self.made, self.made.commits[:1])
        Objects(other.parents[2]).refresh()
        spoiled = [b"", good[:100], good[:-8], good + bytes(8), b"deployd chart\0\0\xff" + good[16:]]
        spoiled += [chart_path(other).read_bytes(), bytes(len(good))]
        spoiled += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(0, len(good), 97)]
        for content in spoiled:
            side.unlink()
            side.write_bytes(content)
            objects = self.opened()
            self.assert_whole(objects)
            objects.close()
            self.assertEqual(side.read_bytes(), good)

    def test_where_no_chart_can_be_kept_it_is_made_each_time(self) -> None:
        """The directory's name is taken by a file."""
        self.store_all()
        (self.where / "deployd").write_bytes(b"")
        self.assert_whole(self.opened())
        self.assert_whole(self.opened())

    @given(cut=st.integers(0, 400), flipped=st.integers(0, 400))
    def test_a_damaged_pack_is_refused(self, cut: int, flipped: int) -> None:
        """In one sentence, or it goes unnoticed because only a blob or a checksum is hit; but never otherwise."""
        where = repository(Path(self.mktemp()))
        pack = store(where, self.made, self.made.objects)
        content = bytearray(pack.read_bytes())
        content[flipped % len(content)] ^= 0x55
        pack.write_bytes(content[: len(content) - cut % 40])
        objects = Objects(where)
        try:
            objects.refresh()
        except BadPack as problem:
            self.assertRegex(str(problem), "^[a-z].*pack|malformed")
        finally:
            objects.close()


class ComingAndGoingTests(RepositoryCase):
    def test_what_was_there_is_readable_until_the_next_refresh(self) -> None:
        """Also when a consolidation deletes it meanwhile."""
        olds = [self.store_commit(number) for number in range(3)]
        objects = self.opened()
        place = objects.place(bytes.fromhex(self.made.commits[0]))
        assert place is not None
        self.store_all()
        for old in olds:
            old.with_suffix(".idx").unlink()
            old.unlink()
        self.assertEqual(objects.read(place)[0], COMMIT)
        self.assert_whole(objects)
        version, graph = objects.version, objects.graph
        self.assertTrue(objects.refresh())
        self.assertGreater(objects.version, version)
        self.assertIsNot(objects.graph, graph)
        self.assertEqual(len(objects.packs), 1)
        self.assert_whole(objects)

    def test_a_store_that_is_asked_meanwhile_looks_again(self) -> None:
        """With packs that were listed, and some that were opened, and all gone since."""
        olds = [self.store_commit(number) for number in range(3)]
        with Packs(self.where / "objects") as packs:
            self.assertIsNotNone(packs.kind(bytes.fromhex(self.made.commits[2])))
            self.store_all()
            for old in olds:
                old.with_suffix(".idx").unlink()
                old.unlink()
            for name, (kind, content) in self.made.objects.items():
                self.assertEqual(packs.starting_with(name[:39]), {bytes.fromhex(name)})
                self.assertEqual(packs.kind_and_size(bytes.fromhex(name)), (kind, len(content)))
                self.assertEqual(packs.read(bytes.fromhex(name)), (kind, content))
            self.assertIsNone(packs.kind(b"1" * 20))
            with self.assertRaises(KeyError):
                packs.read(b"1" * 20)

    def test_new_packs_leave_places_and_numbers_as_they_are(self) -> None:
        """And nothing new leaves the version, too."""
        self.store_commit(0)
        objects = self.opened()
        first = bytes.fromhex(self.made.commits[0])
        before = objects.place(first), objects.graph.number(first), objects.version, objects.graph
        self.assertFalse(objects.refresh())
        self.assertEqual(objects.version, before[2])
        for number in (2, 1):
            self.store_commit(number)
            self.assertFalse(objects.refresh())
        self.assertEqual((objects.place(first), objects.graph.number(first)), before[:2])
        self.assertIs(objects.graph, before[3])
        self.assert_whole(objects)

    def test_a_pack_without_an_index_or_the_other_way_round_is_none(self) -> None:
        """Both are what a kill may leave."""
        pack = self.store_commit(0)
        pack.rename(pack.with_name("aside"))
        self.assertEqual(self.opened().packs, [])
        pack.with_name("aside").rename(pack)
        pack.with_suffix(".idx").unlink()
        self.assertEqual(self.opened().packs, [])

    def test_objects_in_two_packs_have_one_number_and_are_repeated(self) -> None:
        """The commits' lists of either pack will do."""
        self.store_commit(0)
        os.utime(self.store_all(), (2e9, 2e9))
        objects = self.opened()
        self.assert_whole(objects)
        self.assertEqual(len(objects.graph), 3)
        self.assertEqual({number: len(rows) for number, rows in objects.repeated().items()}, {1: len(objects.packs[0])})
        tip = Reach(objects, [bytes.fromhex(self.made.commits[-1])])
        self.assertTrue(tip.everything)

    def test_the_bases_that_completed_a_thin_pack_do_no_harm(self) -> None:
        """The pack is not closed, but everything in it is reached."""
        self.store_commit(0)
        blob = next(name for name, (kind, _) in self.made.objects.items() if kind == BLOB)
        new = self.made.reachable(self.made.commits[:2]) - self.made.reachable(self.made.commits[:1])
        os.utime(store(self.where, self.made, [*new, blob]), (2e9, 2e9))
        objects = self.opened()
        self.assertEqual([len(pack.chart.rest) for pack in objects.packs], [0, 1])
        self.assertTrue(Reach(objects, [bytes.fromhex(self.made.commits[1])]).everything)

    def test_what_nothing_leads_to_is_not_reached(self) -> None:
        """A blob that came along, then a whole commit."""
        stray = self.made.add(BLOB, b"stray")
        self.store_commit(0)
        store(self.where, self.made, [stray])
        first = bytes.fromhex(self.made.commits[0])
        reach = Reach(self.opened(), [first])
        self.assertTrue(reach.all_commits)
        self.assertFalse(reach.everything)
        self.assertNotIn(bytes.fromhex(stray), reach)
        self.store_commit(1)
        reach = Reach(self.opened(), [first])
        self.assertFalse(reach.all_commits)
        self.assertNotIn(bytes.fromhex(self.made.commits[1]), reach)

    def test_a_commit_of_a_shallow_repository_has_no_parents(self) -> None:
        """Until what is behind it comes."""
        self.store_commit(0)
        tip = bytes.fromhex(self.made.commits[2])
        store(
            self.where,
            self.made,
            self.made.reachable(self.made.commits[2:]) - self.made.reachable(self.made.commits[:2]),
        )
        objects = self.opened()
        number = objects.graph.number(tip)
        assert number is not None
        self.assertEqual(objects.graph.parents[number], ())
        self.store_commit(1)
        self.assertFalse(objects.refresh())
        self.assertEqual(len(objects.graph.parents[number]), 1)
        self.assert_whole(objects)

    def test_no_descriptor_is_left_open(self) -> None:
        """After close, however much was read."""
        self.store_all()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            objects = Objects(self.where)
            objects.refresh()
            self.assert_whole(objects)
            self.assertGreater(objects.weight(), 1000)
            objects.close()
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)


class LooseTests(RepositoryCase):
    def write_loose(self, names: Any) -> None:
        for name in names:
            kind, content = self.made.objects[name]
            path = self.where / "objects" / name[:2] / name[2:]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(b"%s %d\0" % (NAMES[kind], len(content)) + content))

    def test_loose_objects_are_as_good_as_packed_ones(self) -> None:
        """Alone, beside a pack, and when they have been packed."""
        first = self.made.reachable(self.made.commits[:1])
        self.write_loose(first)
        objects = self.opened()
        self.assertEqual([pack.path for pack in objects.packs], [None])
        store(self.where, self.made, self.made.objects.keys() - first)
        self.assertTrue(objects.refresh())
        self.assert_whole(objects)
        self.assertEqual([pack.path is None for pack in objects.packs], [False, True])
        self.assertFalse(objects.refresh())
        store(self.where, self.made, first)
        objects.refresh()
        self.assertEqual([pack.path is None for pack in objects.packs], [False, False])
        self.assert_whole(objects)

    def test_a_damaged_loose_object_counts_as_missing(self) -> None:
        """Cut short, another's content, no object at all, an odd name."""
        names = list(self.made.objects)
        self.write_loose(names)
        whole = {name: self.where / "objects" / name[:2] / name[2:] for name in names}
        content = whole[names[0]].read_bytes()
        for spoiled in (content[:-5], whole[names[1]].read_bytes(), b"", zlib.compress(b"thing 3\0abc")):
            whole[names[0]].write_bytes(spoiled)
            objects = self.opened()
            self.assertIsNone(objects.place(bytes.fromhex(names[0])))
            self.assertIsNotNone(objects.place(bytes.fromhex(names[1])))
        (whole[names[0]].parent / "tmp_obj_x").write_bytes(b"")
        self.opened()


class ExpenseTests(RepositoryCase):
    def test_many_roots_on_one_large_tree_are_not_listed_for_ever(self) -> None:
        """What is left out of the chart is found when it is asked for."""
        made = History()
        blobs = {(f"f{number}",): ("100644", number) for number in range(500)}
        for _ in range(400):
            made.commit(dict(blobs), [])
        store(self.where, made, made.objects)
        objects = self.opened()
        chart = objects.packs[0].chart
        self.assertLess(len(chart.introduced), 4 * len(chart) + (1 << 16) + 1000)
        unlisted = [i for i in range(400) if chart.introduced_starts[i] == chart.introduced_starts[i + 1]]
        self.assertGreater(len(unlisted), 100)
        found = {objects.id(place).hex() for place in objects.graph.introduced(unlisted[:1])}
        self.assertEqual(found, made.reachable([objects.graph.ids[unlisted[0]].hex()]))
