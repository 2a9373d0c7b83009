"""Packs become few, nothing is lost, and nobody who reads or pushes meanwhile is troubled."""

from __future__ import annotations

import zlib
from itertools import count, pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy
from deployd.git.disk import locked
from deployd.git.kinds import BLOB, NAMES
from deployd.git.limits import GitLimits
from deployd.git.packs.consolidating import RUNNING, Consolidated, consolidate, to_merge
from deployd.git.packs.objects import Objects
from deployd.git.packs.store import Packs
from deployd.git.problems import BadPack
from tests.git import forge
from tests.git.forge import Hub

_MUCH = 1 << 40


class DecisionTests(SynchronousTestCase):
    """Which packs should become one."""

    def test_examples(self) -> None:
        """The small ones, as long as what they make is not much smaller than the next."""
        for costs, most, merged in [
            ([], _MUCH, 0),
            ([5], _MUCH, 0),
            ([5, 5], _MUCH, 2),
            ([5, 10], _MUCH, 0),
            ([5, 9], _MUCH, 2),
            ([1, 1, 1, 100], _MUCH, 3),
            ([1, 1, 1, 5], _MUCH, 4),
            ([1, 2, 4, 8], _MUCH, 0),
            ([3, 3, 3], 6, 2),
            ([3, 3, 3], 5, 0),
            ([1, 9, 10], 12, 2),
        ]:
            self.assertEqual(to_merge(costs, most), merged, costs)

    @given(st.lists(st.integers(1, 1000)), st.integers(1, 5000))
    def test_what_is_left(self, costs: list[int], most: int) -> None:
        """Within the bound; and without one, each pack costs at least twice as much as the one before."""
        costs.sort()
        merged = to_merge(costs, most)
        self.assertLessEqual(sum(costs[:merged]), most)
        self.assertNotEqual(merged, 1)
        merged = to_merge(costs, _MUCH)
        left = sorted([*costs[merged:], *[sum(costs[:merged])] * bool(merged)])
        self.assertTrue(all(larger >= 2 * smaller for smaller, larger in pairwise(left)), left)

    def test_ten_thousand_pushes(self) -> None:
        """They leave few packs, and each was copied a few times."""
        packs, copied, most = [50_000], 0, 0
        for push in range(10_000):
            packs.append(1 + push % 7)
            if push % 8 == 7:
                packs.sort()
                most = max(most, len(packs))
                merged = to_merge(packs, _MUCH)
                copied += sum(packs[:merged])
                packs = [*packs[merged:], sum(packs[:merged])]
        self.assertLess(most, 25)
        self.assertLess(copied, 10 * 40_000)


class ConsolidationTests(SynchronousTestCase):
    """A repository with some pushes in it."""

    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))
        self.numbers = count()
        self.tip = forge.ZERO
        self.push(6)

    def push(self, times: int) -> None:
        """Commits one after the other, each in a pack of its own, with a thin delta of the blob before."""
        for _ in range(times):
            number, objects = next(self.numbers), forge.Objects()
            content = b"".join(b"%d\n" % line for line in range(number + 1))
            if number:
                old = content[: -len(b"%d\n" % number)]
                objects.entries.append(
                    forge.ref_delta(forge.object_id(BLOB, old), forge.append_delta(old, b"%d\n" % number))
                )
                blob = forge.object_id(BLOB, content)
            else:
                blob = objects.blob(content)
            tree = objects.tree(("100644", b"file.txt", blob))
            new = objects.commit(tree, *([self.tip] if number else []))
            receipt = self.hub.push([("refs/heads/master", self.tip, new)], objects.pack())
            self.assertIn(b"ok refs/heads/master", receipt.report)
            self.tip = new

    def packs(self) -> list[Path]:
        return sorted((self.hub.path / "objects/pack").glob("*.pack"))

    def objects(self) -> Objects:
        objects = Objects(self.hub.path)
        objects.refresh()
        self.addCleanup(objects.close)
        return objects

    def consolidate(self, limits: GitLimits | None = None) -> Consolidated:
        objects = Objects(self.hub.path)
        self.addCleanup(objects.close)
        return consolidate(objects, limits or GitLimits())

    def contents(self, objects: Objects) -> dict[bytes, tuple[int, bytes]]:
        """All objects by id."""
        places = [pack.first + row for pack in objects.packs for row in range(len(pack))]
        return {objects.id(place): objects.read(place) for place in places}

    def test_many_become_one(self) -> None:
        """It has every object, each once, an index, and the chart that would be made of it."""
        before = self.contents(self.objects())
        done = self.consolidate()
        self.assertEqual((done.before, done.after), (6, 1))
        self.assertEqual([path.stat().st_size for path in self.packs()], [done.written])
        after = self.objects()
        self.assertEqual(self.contents(after), before)
        self.assertEqual(len(after.packs[0]), len(before))
        with Packs(self.hub.path / "objects") as packs:
            self.assertEqual({name: packs.read(name) for name in before}, before)
        self.assertEqual(
            sorted(path.name.partition(".")[2] for path in self.hub.path.rglob("pack-*")), ["chart", "idx", "pack"]
        )

    def test_nothing_to_do(self) -> None:
        """A second run leaves everything as it is."""
        self.consolidate()
        files = self.hub.files()
        self.assertEqual(self.consolidate(), Consolidated(1, 1, 0))
        self.assertEqual(self.hub.files(), files)

    def test_it_goes_on(self) -> None:
        """Pushes after it, and another run."""
        self.consolidate()
        self.push(9)
        self.consolidate()
        self.assertEqual(len(self.packs()), 1)
        self.assertEqual(self.hub.repositories.read_file("webapp", self.tip, "file.txt", 1000)[-3:], b"14\n")

    def test_readers_go_on(self) -> None:
        """Who has the old packs open reads all that was in them; a push that looks anew finds it elsewhere."""
        reader = self.objects()
        with Packs(self.hub.path / "objects") as packs:
            tip = bytes.fromhex(self.tip)
            packs.kind(tip)
            self.consolidate()
            contents = self.contents(reader)
            self.assertEqual({name: packs.read(name) for name in contents}, contents)

    def test_a_run_that_did_not_end(self) -> None:
        """A pack of which another has everything goes."""
        old = {path: path.read_bytes() for path in (self.hub.path / "objects/pack").iterdir()}
        self.consolidate()
        for path, content in old.items():
            path.write_bytes(content)
        self.assertEqual(self.consolidate(), Consolidated(7, 1, 0))
        self.assertEqual(len(self.packs()), 1)

    def test_bounds(self) -> None:
        """Packs are left alone when they would cost too much together."""
        self.assertEqual(self.consolidate(GitLimits(consolidated_bytes=1000)), Consolidated(6, 6, 0))

    def test_a_damaged_pack(self) -> None:
        """It is said, and nothing changes."""
        objects, path = self.objects(), self.packs()[0]
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.seek(-30, 2)
            byte = file.read(1)
            file.seek(-30, 2)
            file.write(bytes([byte[0] ^ 1]))
        files = self.hub.files()
        self.assertIn(path.name, str(self.assertRaises(BadPack, consolidate, objects, GitLimits())))
        self.assertEqual(self.hub.files() - {RUNNING}, files)

    def test_what_a_person_keeps(self) -> None:
        """A pack with a ``.keep`` beside it stays; an index of several packs goes, since it names some that go."""
        kept = self.packs()[0]
        kept.with_suffix(".keep").touch()
        kept.with_name("multi-pack-index").touch()
        self.consolidate()
        self.assertIn(kept, self.packs())
        self.assertEqual(len(self.packs()), 2)
        self.assertFalse(kept.with_name("multi-pack-index").exists())

    def test_loose_objects(self) -> None:
        """They come into a pack, and their files and directories go."""
        self.consolidate()
        content = b"loose\n"
        name = forge.object_id(BLOB, content)
        path = self.hub.path / "objects" / name[:2] / name[2:]
        path.parent.mkdir()
        path.write_bytes(zlib.compress(b"%s %d\0%s" % (NAMES[BLOB], len(content), content)))
        self.consolidate()
        self.assertFalse(path.parent.exists())
        with Packs(self.hub.path / "objects") as packs:
            self.assertEqual(packs.read(bytes.fromhex(name)), (BLOB, content))

    def test_leftovers(self) -> None:
        """What a killed run has left goes; a pack without an index only once it is old, as someone may be at it."""
        directory = self.hub.path / "objects/pack"
        (directory / "tmp_deployd_x").touch()
        (directory / "pack-new.pack").touch()
        (self.hub.path / "deployd").mkdir(exist_ok=True)
        (self.hub.path / "deployd/pack-gone.chart").touch()
        self.consolidate()
        self.assertTrue((directory / "pack-new.pack").exists())
        self.assertFalse((directory / "tmp_deployd_x").exists())
        self.assertFalse((self.hub.path / "deployd/pack-gone.chart").exists())

    def test_one_at_a_time(self) -> None:
        """The second is told at once."""
        with locked(self.hub.path / RUNNING):
            self.assertRaises(Busy, self.consolidate)
