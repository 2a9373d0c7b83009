"""A checkout appears whole or not at all, and never outside its place."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import Refused, UnknownCommit
from deployd.git.kinds import BLOB
from deployd.git.limits import GitLimits
from deployd.git.mirror import checkouts, marks
from deployd.git.mirror.checking_out import checkout
from deployd.git.mirror.checkouts import remove
from tests.git.forge import Objects
from tests.git.mirror.mirrors import MirrorTestCase, named, put

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n"


class CheckoutTests(MirrorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.top / "apps"
        self.target = self.place / "v1"

    def write(self, objects: Objects, commit: str, limits: GitLimits | None = None) -> None:
        put(self.mirror, named(objects))
        checkout(self.mirror, commit, self.target, limits or GitLimits())

    def refused(self, reason: str, objects: Objects, tree: str, limits: GitLimits | None = None) -> None:
        """See the sentence, and that nothing is left."""
        with self.assertRaisesRegex(Refused, reason):
            self.write(objects, objects.commit(tree), limits)
        self.assertEqual(list(self.place.iterdir()), [])
        self.assertEqual(sorted(path.name for path in self.top.iterdir()), ["apps", "mirror"])


class WritingTests(CheckoutTests):
    def test_files_modes_directories_and_inner_links_are_written(self) -> None:
        """As git would, as far as running an app needs it."""
        objects = Objects()
        inner = objects.tree(("120000", b"up", objects.blob(b"../run")), ("100644", b"x", objects.blob(b"deep")))
        tree = objects.tree(
            ("100644", b"new\nline", objects.blob(b"odd")),
            ("100755", b"run", objects.blob(b"#!/bin/sh\n")),
            ("40000", b"src", inner),
            ("120000", b"to-src", objects.blob(b"src/x")),
        )
        self.write(objects, objects.commit(tree))
        self.assertEqual((self.target / "src/x").read_bytes(), b"deep")
        self.assertEqual((self.target / "src/up").read_bytes(), b"#!/bin/sh\n")
        self.assertEqual((self.target / "to-src").readlink(), Path("src/x"))
        self.assertTrue(os.access(self.target / "run", os.X_OK))
        self.assertFalse((self.target / "src/x").stat().st_mode & 0o111)
        self.assertEqual((self.target / "new\nline").read_bytes(), b"odd")

    def test_many_files_are_written_by_several_processes(self) -> None:
        """Each file once, and what one of them refuses is refused."""
        for name in (b"z", b"large"):
            objects = Objects()
            lfs = objects.blob(LFS) if name == b"large" else objects.blob(b"x")
            inner = [
                objects.tree(*(("100644", b"%03d" % n, objects.blob(b"%d %d" % (part, n))) for n in range(90)))
                for part in range(3)
            ]
            trees = [("40000", b"d%d" % part, tree) for part, tree in enumerate(inner)]
            last = objects.tree(("100644", name, lfs), ("120000", b"zz", objects.blob(b"../d0/000")))
            tree = objects.tree(*trees, ("40000", b"last", last))
            if name == b"large":
                remove(self.target)
                self.refused("'last/large' is a Git LFS", objects, tree)
                return
            self.write(objects, objects.commit(tree))
            found = {
                (part, n): (self.target / f"d{part}" / f"{n:03}").read_text() for part in range(3) for n in range(90)
            }
            self.assertEqual(found, {(part, n): f"{part} {n}" for part in range(3) for n in range(90)})
            self.assertEqual((self.target / "last" / "zz").read_text(), "0 0")

    def test_a_second_checkout_of_the_same_changes_nothing(self) -> None:
        """What is there stays."""
        objects = Objects()
        tip = objects.commit()
        self.write(objects, tip)
        (self.target / "made-by-the-app").touch()
        checkout(self.mirror, tip, self.target, GitLimits())
        self.assertTrue((self.target / "made-by-the-app").exists())

    def test_a_commit_that_is_not_whole_is_unknown(self) -> None:
        """And leaves nothing."""
        objects = Objects()
        tip = objects.commit(objects.tree(("100644", b"a", objects.blob()), ("100644", b"b", "1" * 40)))
        for commit in (tip, "2" * 40, objects.blob()):
            with self.assertRaises(UnknownCommit):
                self.write(objects, commit)
        self.assertEqual(list(self.place.iterdir()), [])


class HostileTreeTests(CheckoutTests):
    def test_names_that_lead_out_are_refused(self) -> None:
        """Even if they came past the hub."""
        for name in (b"..", b".", b".git", b"git~1", ".g\u200cit".encode(), b"a/b", b"/tmp/x", b"../x", b"y" * 300):
            objects = Objects()
            good = ("100644", b"Procfile", objects.blob())
            self.refused("cannot be checked out", objects, objects.tree(good, ("100644", name, objects.blob())))

    def test_links_that_lead_outside_are_refused(self) -> None:
        """Absolute, too many ups, ups after a name, and empty ones."""
        for goal in (b"/etc/passwd", b"..", b"../x", b"a/../../x", b"src/..", b".//../x", b"/", b"", b"a\0b"):
            objects = Objects()
            link = objects.add(BLOB, goal)
            self.refused("link that leads outside", objects, objects.tree(("120000", b"l", link)))

    def test_a_file_behind_a_link_is_refused(self) -> None:
        """A tree with a link and a directory of one name would write through the link."""
        objects = Objects()
        link, inner = objects.blob(b"."), objects.tree(("100644", b"x", objects.blob()))
        with self.assertRaises(OSError):
            self.write(objects, objects.commit(objects.tree(("120000", b"d", link), ("40000", b"d", inner))))
        self.assertEqual(list(self.place.iterdir()), [])

    def test_submodules_and_lfs_pointers_are_named(self) -> None:
        """Rather than left out silently."""
        objects = Objects()
        inner = objects.tree(("160000", b"lib", "1" * 40))
        self.refused("'src/lib' is a submodule", objects, objects.tree(("40000", b"src", inner)))
        objects = Objects()
        self.refused("'big.bin' is a Git LFS", objects, objects.tree(("100644", b"big.bin", objects.blob(LFS))))
        objects = Objects()
        self.refused("is a link", objects, objects.tree(("120000", b".gitmodules", objects.blob(b"x"))))

    def test_files_bytes_and_depth_are_bounded(self) -> None:
        """A tree bomb, where one small tree is its own neighbour many times, ends at the limit."""
        objects = Objects()
        tree = objects.tree(("100644", b"f", objects.blob(b"x" * 100)))
        for _ in range(12):
            tree = objects.tree(*(("40000", b"%d" % n, tree) for n in range(10)))
        self.refused("more than 1000 files", objects, tree, GitLimits(checkout_files=1000))
        self.refused("more than 1000 bytes", objects, tree, GitLimits(checkout_bytes=1000))
        objects = Objects()
        tree = objects.tree()
        for _ in range(3000):
            tree = objects.tree(("40000", b"d", tree))
        self.refused("deeper", objects, tree)

    @given(
        st.lists(st.lists(st.sampled_from([b"..", b"a", b"l0", b"l1", b"d", b""]), min_size=1, max_size=5), max_size=4)
    )
    def test_no_accepted_link_leads_outside(self, goals: list[list[bytes]]) -> None:
        """Whatever links are combined: each is refused, or resolves below the checkout."""
        for path in (self.mirror / "objects" / "pack").iterdir():
            path.unlink()
        self.target = self.place / os.urandom(8).hex()
        objects = Objects()
        links = [("120000", b"l%d" % n, objects.blob(b"/".join(goal))) for n, goal in enumerate(goals)]
        deep = objects.tree(("40000", b"d", objects.tree(*links)), *links)
        try:
            self.write(objects, objects.commit(deep))
        except Refused:
            return
        inside = os.path.realpath(self.target)
        for directory, names, files in os.walk(self.target):
            for name in [*names, *files]:
                try:
                    leads_to = Path(directory, name).resolve(strict=True)
                except FileNotFoundError:
                    leads_to = Path(directory, name).resolve()
                except (OSError, RuntimeError):
                    # A loop of links leads nowhere.
                    continue
                self.assertTrue(leads_to.is_relative_to(inside), leads_to)


class LifeTests(CheckoutTests):
    def test_remove_takes_it_away_at_once_and_whole(self) -> None:
        """Removing what is not there is fine."""
        objects = Objects()
        self.write(objects, objects.commit())
        remove(self.target)
        remove(self.target)
        self.assertEqual(list(self.place.iterdir()), [])

    def test_clean_deletes_what_a_kill_left(self) -> None:
        """Half checkouts and half removals, not whole ones."""
        objects = Objects()
        self.write(objects, objects.commit())
        (self.place / ".checkout-abc").mkdir()
        (self.place / ".gone-v0-1").mkdir()
        (self.place / ".unsettled-v9").touch()
        checkouts.clean(self.place)
        self.assertEqual(sorted(path.name for path in self.place.iterdir()), [".unsettled-v1", "v1"])

    def test_what_a_power_cut_may_have_hollowed_is_made_again(self) -> None:
        """It was written in another boot and never settled."""
        objects = Objects()
        tip = objects.commit()
        self.write(objects, tip)
        (self.place / ".unsettled-v1").write_text("another boot")
        (self.target / "file.txt").write_bytes(b"")
        checkout(self.mirror, tip, self.target, GitLimits())
        self.assertEqual((self.target / "file.txt").read_bytes(), b"hello\n")
        (self.place / ".unsettled-v1").write_text("another boot")
        checkouts.clean(self.place)
        self.assertEqual(list(self.place.iterdir()), [])

    def test_a_settled_checkout_is_never_hollow(self) -> None:
        """Its files have reached the disk."""
        objects = Objects()
        self.write(objects, objects.commit())
        marks.settle(self.target)
        self.assertEqual([path.name for path in self.place.iterdir()], ["v1"])
        self.assertFalse(marks.is_hollow(self.target))
