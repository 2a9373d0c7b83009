"""Objects that may not come in, and those that look like it."""

from __future__ import annotations

import io

from deployd.git.kinds import COMMIT, TREE
from deployd.git.receiving.reception import receive
from tests.git import forge
from tests.git.forge import ZERO, Objects
from tests.git.receiving.pushes import MASTER, PushCase


class ConnectivityTests(PushCase):
    def test_a_tip_that_was_not_sent_is_refused(self) -> None:
        """A ref on a missing object would make the repository unreadable."""
        self.refused("not sent", forge.pack([]), "1" * 40)

    def test_missing_trees_parents_blobs_and_targets_are_refused(self) -> None:
        """Whatever a new object names must be there."""
        gone = "1" * 40
        for make in (
            lambda o: o.commit(gone),
            lambda o: o.commit(None, gone),
            lambda o: o.commit(o.tree(("100644", b"f", gone))),
            lambda o: o.commit(o.tree(("40000", b"d", gone))),
        ):
            objects = Objects()
            tip = make(objects)
            self.refused("is missing", objects.pack(), tip)

    def test_a_tag_of_nothing_is_refused(self) -> None:
        """Tags count too."""
        objects = Objects()
        tip = objects.tag("1" * 40)
        self.refused("is missing", objects.pack(), tip, "refs/tags/v")

    def test_the_wrong_kind_of_object_is_refused(self) -> None:
        """A blob as tree, a tree as blob, a blob as parent, a tag that lies, a branch on a blob or tag."""
        for make in (
            lambda o: o.commit(o.blob()),
            lambda o: o.commit(None, o.blob(b"other")),
            lambda o: o.commit(o.tree(("100644", b"f", o.tree()))),
            lambda o: o.commit(o.tree(("40000", b"f", o.blob()))),
        ):
            objects = Objects()
            tip = make(objects)
            self.refused("is a ", objects.pack(), tip)
        objects = Objects()
        tip = objects.tag(objects.blob())
        self.refused("is a blob", objects.pack(), tip, "refs/tags/v")
        objects = Objects()
        self.refused("must point at a commit", (objects.blob(), objects.pack())[1], objects.blob())
        tip = objects.tag(objects.commit())
        self.refused("must point at a commit", objects.pack(), tip)

    def test_a_shallow_pusher_is_told_what_is_missing(self) -> None:
        """Its boundary's parents are not here."""
        objects = Objects()
        tip = objects.commit(None, "2" * 40)
        request = forge.pktlines.line(b"shallow " + tip.encode()) + forge.push([(MASTER, ZERO, tip)], objects.pack())
        report = receive(self.hub.path, io.BytesIO(request), self.hub.limits).report
        self.assertIn(b"is missing", report)


class TreeTests(PushCase):
    def test_names_that_lead_out_or_pose_as_dot_git_are_refused(self) -> None:
        """In every disguise that some file system sees through."""
        names = [b"..", b".", b".git", b".GIT", b".Git", b"git~1", b"GIT~1", b".git ", b".git.", b".git. ."]
        names += [b".git::$INDEX_ALLOCATION", ".g\u200cit".encode(), "\u200d.git".encode(), b"a/b", b"/etc", b"x\\.git"]
        names += [b"", b"x" * 256]
        for name in names:
            with self.subTest(name=name):
                objects = Objects()
                tip = objects.commit(objects.tree(("100644", name, objects.blob())))
                self.refused("ng ", objects.pack(), tip)

    def test_names_that_only_look_like_it_are_taken(self) -> None:
        """.gitignore and friends are ordinary."""
        objects = Objects()
        names = sorted([b".gitignore", b".github", b".gitattributes", b"git", b"a.git", "gît".encode(), b"...", b"aux"])
        tip = objects.commit(objects.tree(*(("100644", name, objects.blob()) for name in names)))
        self.assertEqual(len(self.hub.push([(MASTER, ZERO, tip)], objects.pack()).updates), 1)

    def test_duplicates_disorder_and_odd_modes_are_refused(self) -> None:
        """Trees are sets of names in one order."""
        for items in (
            [("100644", b"a"), ("100644", b"a")],
            [("100644", b"b"), ("100644", b"a")],
            [("100644", b"a"), ("100644", b"a.b"), ("40000", b"a")],
            [("104755", b"a")],
            [("10644", b"a")],
        ):
            objects = Objects()
            tree = objects.tree(*((m, n, objects.tree() if m == "40000" else objects.blob()) for m, n in items))
            tip = objects.commit(tree)
            self.refused("ng ", objects.pack(), tip)

    def test_links_and_submodules_may_be_pushed(self) -> None:
        """The checkout decides about them."""
        objects = Objects()
        link, sub = ("120000", b"l", objects.blob(b"/etc/passwd")), ("160000", b"s", "3" * 40)
        tip = objects.commit(objects.tree(link, sub))
        self.assertEqual(len(self.hub.push([(MASTER, ZERO, tip)], objects.pack()).updates), 1)

    def test_malformed_commits_trees_and_tags_are_refused(self) -> None:
        """Nothing comes in that dulwich could not read later."""
        good = Objects()
        tree = good.tree()
        for kind, content in (
            (COMMIT, b""),
            (COMMIT, b"tree " + tree.encode() + b"\n\nno author"),
            (COMMIT, b"tree " + tree.encode() + b"\nauthor A\ncommitter B\n\nm"),
            (COMMIT, b"tree " + b"z" * 40 + b"\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n"),
            (TREE, b"100644 a\0short"),
            (TREE, b"garbage"),
            (4, b"object x"),
        ):
            objects = Objects(list(good.entries))
            tip = objects.add(kind, content)
            self.refused("malformed", objects.pack(), tip, "refs/tags/x")
