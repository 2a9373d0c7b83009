"""A commit is in a mirror whole or not at all; what no kept commit needs goes; damage is seen, and gone afterwards."""

from __future__ import annotations

import io
import os
import random
import sys

from deployd.errors import UnknownCommit
from deployd.git.limits import GitLimits
from deployd.git.mirror import checking_out, fetching, pruning
from deployd.git.mirror.closure import closure
from deployd.git.mirror.reading import MirrorReader
from deployd.git.refs import read_refs
from tests.git.forge import Objects
from tests.git.mirror.mirrors import MirrorTestCase

NOISE = random.Random(7)


class StoringTestCase(MirrorTestCase):
    def store(self, objects: Objects, commit: str) -> None:
        fetching.store(self.mirror, commit, io.BytesIO(objects.pack()), GitLimits())

    def commit(self, *contents: bytes) -> str:
        """A stored commit of files with these contents."""
        objects = Objects()
        tree = objects.tree(*(("100644", b"%02d" % n, objects.blob(content)) for n, content in enumerate(contents)))
        commit = objects.commit(tree)
        self.store(objects, commit)
        return commit

    def whole(self, *commits: str) -> None:
        """See that these are kept, and nothing of them is missing."""
        self.assertEqual(set(fetching.commits(self.mirror)), set(commits))
        with MirrorReader(self.mirror / "objects") as reader:
            for place in closure(reader, commits).values():
                b"".join(map(bytes, reader.pieces(place)))


class StoreTests(StoringTestCase):
    def test_what_is_here_need_not_come_again(self) -> None:
        shared = Objects()
        blob = shared.blob(b"shared")
        first = shared.commit(shared.tree(("100644", b"a", blob)))
        self.store(shared, first)
        objects = Objects()
        second = objects.commit(objects.tree(("100644", b"a", blob), ("100644", b"b", objects.blob(b"new"))), first)
        self.store(objects, second)
        self.whole(first, second)

    def test_a_commit_that_lacks_anything_is_refused_and_nothing_of_it_stays(self) -> None:
        for depth in range(3):
            objects = Objects()
            tree = objects.tree(("100644", b"f", "1" * 40)) if depth else "1" * 40
            if depth == 2:
                tree = objects.tree(("40000", b"d", tree))
            with self.assertRaisesRegex(fetching._Wrong, "not all of commit"):
                self.store(objects, objects.commit(tree))
        self.assertEqual((fetching.commits(self.mirror), self.packs()), ((), []))

    def test_an_entry_of_another_kind_than_it_says_is_refused(self) -> None:
        objects = Objects()
        tree = objects.tree(("40000", b"d", objects.blob(b"no tree")))
        with self.assertRaises(fetching._Wrong):
            self.store(objects, objects.commit(tree))
        self.assertEqual(self.packs(), [])

    def test_what_is_no_pack_or_has_not_the_commit_is_refused(self) -> None:
        with self.assertRaises(fetching._Wrong):
            fetching.store(self.mirror, "1" * 40, io.BytesIO(b"PACK"), GitLimits())
        objects = Objects()
        objects.commit()
        with self.assertRaises(fetching._Wrong):
            self.store(objects, "1" * 40)

    def test_every_commit_is_shallow_since_a_parent_that_is_here_may_go(self) -> None:
        commits: list[str] = []
        for parents in (("1" * 40,), commits):
            objects = Objects()
            commits.append(objects.commit(None, *parents))
            self.store(objects, commits[-1])
            self.assertEqual((self.mirror / "shallow").read_text().split(), sorted(commits))

    def test_submodules_are_not_missing(self) -> None:
        objects = Objects()
        commit = objects.commit(objects.tree(("160000", b"lib", "1" * 40)))
        self.store(objects, commit)
        self.whole(commit)


class KeepTests(StoringTestCase):
    def test_what_only_a_forgotten_commit_needs_goes(self) -> None:
        first, second = self.commit(b"one"), self.commit(b"two")
        fetching.keep(self.mirror, {second})
        self.whole(second)
        self.assertEqual(len(self.packs()), 1)
        fetching.keep(self.mirror, ())
        self.assertEqual((fetching.has(self.mirror, first), self.packs()), (False, []))

    def test_a_pack_stays_as_long_as_anything_of_it_is_needed(self) -> None:
        self.commit(b"shared", b"one")
        second = self.commit(b"shared", b"two")
        fetching.keep(self.mirror, {second})
        self.whole(second)

    def test_when_most_is_not_needed_the_rest_is_copied_into_one_pack(self) -> None:
        """Here half of a pack is, and half of another."""
        shared = [NOISE.randbytes(1000) for _ in range(5)]
        self.commit(*shared, NOISE.randbytes(pruning.SMALL))
        kept = self.commit(*shared[:2], b"x")
        self.commit(*shared[2:], NOISE.randbytes(pruning.SMALL))
        fetching.keep(self.mirror, {kept})
        self.whole(kept)
        self.assertLess(sum(path.stat().st_size for path in self.packs()), pruning.SMALL)

    def test_many_packs_become_one(self) -> None:
        kept = [self.commit(b"%d" % number) for number in range(pruning.MAX_PACKS + 1)]
        fetching.keep(self.mirror, kept)
        self.assertEqual(len(self.packs()), 1)
        self.whole(*kept)
        self.assertTrue(self.packs()[0].with_suffix(".idx").exists())

    def test_a_kill_at_any_moment_leaves_all_that_is_kept(self) -> None:
        kept = [self.commit(b"shared", NOISE.randbytes(pruning.SMALL // 2)), self.commit(b"x")]
        gone = [
            self.commit(NOISE.randbytes(pruning.SMALL), b"shared"),
            self.commit(NOISE.randbytes(pruning.SMALL), b"x"),
        ]
        step, killed = 0, True
        while killed:
            killed = self.killed_at(step, kept)
            self.assertLessEqual(set(kept), set(fetching.commits(self.mirror)))
            self.whole(*fetching.commits(self.mirror))
            step += 1
        self.whole(*kept)
        self.assertFalse(any(fetching.has(self.mirror, commit) for commit in gone))
        self.assertEqual([path.name for path in (self.mirror / "objects").glob("tmp*")], [])

    def killed_at(self, step: int, kept: list[str]) -> bool:
        """Keep these in a process that ends, without any clean-up, before its change number ``step`` on disk."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        left = step

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
                left -= 1
                if left < 0:
                    os._exit(9)

        try:
            sys.addaudithook(count)
            fetching.keep(self.mirror, kept)
        finally:
            os._exit(0)


class DamageTests(StoringTestCase):
    def test_a_mirror_that_lost_a_pack_is_emptied_when_that_is_seen(self) -> None:
        commit = self.commit(b"one")
        for path in self.packs():
            path.unlink()
        self.assertFalse(fetching.has(self.mirror, commit))
        fetching.keep(self.mirror, {commit})
        self.assertEqual((read_refs(self.mirror).values, self.packs()), ({}, []))

    def test_a_mirror_whose_refs_are_damaged_is_as_good_as_empty(self) -> None:
        commit = self.commit(b"one")
        (self.mirror / "packed-refs").write_bytes(b"\0" * 99)
        self.assertFalse(fetching.has(self.mirror, commit))
        fetching.keep(self.mirror, {commit})
        self.assertEqual((read_refs(self.mirror).values, self.packs()), ({}, []))

    def test_a_damaged_file_is_seen_by_a_checkout_and_comes_anew(self) -> None:
        content = NOISE.randbytes(4000)
        commit = self.commit(content)
        (path,) = self.packs()
        path.chmod(0o644)
        spoiled = path.read_bytes()
        path.write_bytes(spoiled[:2000] + bytes([spoiled[2000] ^ 1]) + spoiled[2001:])
        target = self.top / "v1"
        with self.assertRaisesRegex(UnknownCommit, "fetched anew"):
            checking_out.checkout(self.mirror, commit, target, GitLimits())
        self.assertEqual((fetching.commits(self.mirror), self.packs(), target.exists()), ((), [], False))
        self.assertEqual(self.commit(content), commit)
        checking_out.checkout(self.mirror, commit, target, GitLimits())
        self.assertEqual((target / "00").read_bytes(), content)

    def test_a_commit_that_never_came_spoils_nothing(self) -> None:
        commit = self.commit(b"one")
        with self.assertRaises(UnknownCommit):
            checking_out.checkout(self.mirror, "1" * 40, self.top / "v1", GitLimits())
        self.whole(commit)
