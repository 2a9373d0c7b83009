"""What nothing reaches goes after a while; what anything reaches, or may yet, stays."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import UnknownCommit
from deployd.git.limits import GitLimits
from deployd.git.packs.consolidating import consolidate
from deployd.git.packs.objects import Objects
from deployd.git.packs.store import Packs
from deployd.git.refs import Move, move_refs, read_refs
from tests.git import forge
from tests.git.forge import Hub

MASTER, TOPIC = "refs/heads/master", "refs/heads/topic"


@define(eq=False)
class Meddled(Objects):
    """While it is looked at what is reached, a ref comes to point at ``commit``."""

    commit: str = field(kw_only=True)

    def read(self, place: int) -> tuple[int, bytes]:
        name = b"refs/heads/late"
        if name not in read_refs(self.repository).values:
            move_refs(self.repository, [Move(name, None, self.commit.encode())])
        return Objects.read(self, place)


class DropTests(SynchronousTestCase):
    """Two branches that share a file, each in packs of its own."""

    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))
        self.kept = [self.push(MASTER, b"one")]
        self.kept.append(self.push(MASTER, b"two", self.kept[0]))
        self.gone = [self.push(TOPIC, b"three")]
        self.gone.append(self.push(TOPIC, b"four", self.gone[0]))

    def push(self, ref: str, content: bytes, *parents: str) -> str:
        objects = forge.Objects()
        shared, own = objects.blob(b"shared\n"), objects.blob(content)
        tree = objects.tree(("100644", b"own", own), ("100644", b"shared", shared))
        tip = objects.commit(tree, *parents, message=content)
        receipt = self.hub.push([(ref, parents[0] if parents else forge.ZERO, tip)], objects.pack())
        self.assertIn(b"ok " + ref.encode(), receipt.report)
        return tip

    def delete_topic(self) -> None:
        receipt = self.hub.push([(TOPIC, self.gone[1], forge.ZERO)])
        self.assertIn(b"ok " + TOPIC.encode(), receipt.report)

    def grow_old(self) -> None:
        """A month goes by."""
        for path in (self.hub.path / "objects/pack").iterdir():
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def consolidate(self, objects: Objects | None = None) -> None:
        objects = objects or Objects(self.hub.path)
        self.addCleanup(objects.close)
        consolidate(objects, GitLimits())

    def here(self, *commits: str) -> list[bool]:
        with Packs(self.hub.path / "objects") as packs:
            return [packs.kind(bytes.fromhex(commit)) is not None for commit in commits]

    def assert_whole(self) -> None:
        for commit in self.kept:
            for name in ("own", "shared"):
                self.assertIsNotNone(self.hub.repositories.read_file("webapp", commit, name, 100))

    def test_a_deleted_branch(self) -> None:
        """Its commits, trees and files go; what another branch has, too, stays."""
        self.delete_topic()
        self.grow_old()
        self.consolidate()
        self.assertEqual(self.here(*self.gone), [False, False])
        self.assertEqual(self.here(forge.object_id(3, b"four"), forge.object_id(3, b"shared\n")), [False, True])
        self.assert_whole()

    def test_not_at_once(self) -> None:
        """Somebody may want it back."""
        self.delete_topic()
        self.consolidate()
        self.assertEqual(self.here(*self.gone), [True, True])

    def test_what_was_deployed(self) -> None:
        """It stays, with all before it."""
        self.hub.repositories.keep("webapp", self.gone[1])
        self.delete_topic()
        self.grow_old()
        self.consolidate()
        self.assertEqual(self.here(*self.gone), [True, True])

    def test_beside_a_push(self) -> None:
        """A push that is under way may build upon it."""
        self.delete_topic()
        self.grow_old()
        quarantine = self.hub.path / "objects/tmp_objdir-incoming-x"
        quarantine.mkdir()
        self.consolidate()
        self.assertEqual(self.here(*self.gone), [True, True])
        quarantine.rmdir()
        self.consolidate()
        self.assertEqual(self.here(*self.gone), [False, False])
        self.assert_whole()

    def test_a_ref_that_comes_meanwhile(self) -> None:
        """What it points at stays."""
        self.delete_topic()
        self.grow_old()
        self.consolidate(Meddled(self.hub.path, commit=self.gone[0]))
        self.assertEqual(self.here(*self.gone, *self.kept), [True] * 4)

    def test_a_history_that_is_not_whole(self) -> None:
        """Then nobody knows what is needed, and all stays."""
        self.delete_topic()
        self.grow_old()
        with (self.hub.path / "packed-refs").open("a") as file:
            file.write("1" * 40 + " refs/heads/broken\n")
        self.consolidate()
        self.assertEqual(self.here(*self.gone), [True, True])

    def test_all_of_a_pack(self) -> None:
        """No empty pack is left of it."""
        self.consolidate()
        objects = forge.Objects()
        tip = objects.commit(objects.tree(("100644", b"file", objects.blob(b"alone"))))
        for old, new in ((forge.ZERO, tip), (tip, forge.ZERO)):
            self.hub.push([("refs/heads/alone", old, new)], objects.pack() if new == tip else b"")
        self.grow_old()
        self.consolidate()
        self.assertEqual(self.here(tip, *self.gone), [False, True, True])
        self.assertEqual(len(list((self.hub.path / "objects/pack").glob("*.pack"))), 1)

    def test_afterwards(self) -> None:
        """What is gone can be pushed again, and neither be built upon nor kept."""
        self.delete_topic()
        self.grow_old()
        self.consolidate()
        self.assertRaises(UnknownCommit, self.hub.repositories.keep, "webapp", self.gone[1])
        objects = forge.Objects()
        tip = objects.commit(None, self.gone[1])
        self.assertNotIn(b"ok", self.hub.push([(TOPIC, forge.ZERO, tip)], objects.pack()).report.split(b"\n")[-2])
        self.push(TOPIC, b"three")
        self.assertEqual(self.here(*self.gone), [True, False])
