"""A push is accepted whole or leaves nothing; each refusal has a reason."""

from __future__ import annotations

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import BLOB, COMMIT, TREE
from deployd.git.limits import GitLimits
from deployd.git.problems import BadRequest
from deployd.git.receiving.reception import RefUpdate, receive
from deployd.git.refs import read_refs
from tests.git import forge
from tests.git.forge import ZERO, Hub, Objects

MASTER = "refs/heads/master"


class ReceivingTests(SynchronousTestCase):
    """Pushes into one fresh app."""

    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))

    def refused(self, reason: str, pack: bytes, tip: str, ref: str | bytes = MASTER, old: str = ZERO) -> None:
        """Push and see the reason in the report, no ref moved, and no file more than before."""
        before, refs = self.hub.files(), read_refs(self.hub.path).values
        receipt = self.hub.push([(ref, old, tip)], pack)
        self.assertIn(reason.encode(), receipt.report)
        self.assertIn(b"ng ", receipt.report)
        self.assertEqual(receipt.updates, [])
        self.assertEqual(self.hub.files(), before)
        self.assertEqual(read_refs(self.hub.path).values, refs)


class AcceptedTests(ReceivingTests):
    def test_a_commit_arrives_and_is_reported(self) -> None:
        """The ref moves, the update is told, HEAD leads to it, and nothing temporary stays."""
        objects = Objects()
        tip = objects.commit()
        receipt = self.hub.push([("refs/heads/trunk", ZERO, tip)], objects.pack())
        self.assertEqual(receipt.updates, [RefUpdate("refs/heads/trunk", None, tip)])
        self.assertIn(b"unpack ok", receipt.report)
        self.assertEqual(self.hub.repositories.head("webapp"), tip)
        self.assertEqual([name for name in self.hub.files() if "tmp" in name], [])

    def test_deltas_of_both_kinds_and_thin_packs_are_resolved(self) -> None:
        """An offset delta, a delta by id inside the pack, one on an object already here, and one on another delta."""
        here = self.hub.pushed()
        base, outside = b"base " * 100, b"hello\n"
        contents = [forge.append_delta(base, b"one"), forge.append_delta(base, b"two")]
        entries = [forge.whole(BLOB, base)]
        entries.append(forge.ofs_delta(len(entries[0]), contents[0]))
        entries.append(forge.ref_delta(forge.object_id(BLOB, base), contents[1]))
        entries.append(forge.ref_delta(forge.object_id(BLOB, outside), forge.append_delta(outside, b"thin")))
        entries.append(forge.ref_delta(forge.object_id(BLOB, base + b"two"), forge.append_delta(base + b"two", b"3")))
        names = [base, base + b"one", base + b"two", outside + b"thin", base + b"two3"]
        objects = Objects(entries)
        tree = objects.tree(*(("100644", b"%d" % n, forge.object_id(BLOB, c)) for n, c in enumerate(names)))
        tip = objects.commit(tree, here)
        self.assertIn(b"ok ", self.hub.push([(MASTER, here, tip)], objects.pack()).report)
        for number, content in enumerate(names):
            self.assertEqual(self.hub.repositories.read_file("webapp", tip, str(number), 10_000), content)

    def test_an_empty_pack_is_fine_when_the_objects_are_here(self) -> None:
        """A new branch at an old commit."""
        tip = self.hub.pushed()
        receipt = self.hub.push([("refs/heads/b", ZERO, tip)], forge.pack([]))
        self.assertEqual(receipt.updates, [RefUpdate("refs/heads/b", None, tip)])

    def test_a_branch_is_deleted(self) -> None:
        """A delete needs no pack."""
        tip = self.hub.pushed()
        self.hub.push([("refs/heads/b", ZERO, tip)], forge.pack([]))
        receipt = self.hub.push([("refs/heads/b", tip, ZERO)])
        self.assertEqual(receipt.updates, [RefUpdate("refs/heads/b", tip, None)])

    def test_side_band_carries_the_report(self) -> None:
        """With side-band-64k the report is on channel 1."""
        objects = Objects()
        tip = objects.commit()
        report = self.hub.push([(MASTER, ZERO, tip)], objects.pack(), b"report-status side-band-64k").report
        self.assertEqual(report[4:5], b"\x01")
        self.assertEqual(report[-4:], b"0000")


class CompareAndSwapTests(ReceivingTests):
    def test_a_wrong_old_value_loses(self) -> None:
        """The pusher believes another tip than there is."""
        here = self.hub.pushed()
        objects = Objects()
        tip = objects.commit(None, here)
        self.refused("moved meanwhile", objects.pack(), tip, old="1" * 40)

    def test_creating_what_exists_loses(self) -> None:
        """Old zero means: not there."""
        here = self.hub.pushed()
        objects = Objects()
        tip = objects.commit(None, here, message=b"2")
        self.refused("there already", objects.pack(), tip)

    def test_moving_or_deleting_what_is_not_there_loses(self) -> None:
        """Both name an old value."""
        here = self.hub.pushed()
        self.refused("not there", forge.pack([]), here, "refs/heads/b", here)
        self.refused("not there", b"", ZERO, "refs/heads/b", here)
        self.refused("nothing to delete", b"", ZERO, "refs/heads/b")

    def test_a_non_fast_forward_is_refused(self) -> None:
        """The new tip does not descend from the old one."""
        here = self.hub.pushed()
        objects = Objects()
        tip = objects.commit(message=b"2")
        self.refused("non-fast-forward", objects.pack(), tip, old=here)

    def test_atomic_moves_none_when_one_loses(self) -> None:
        """Whether the loser is known before or only when the refs move."""
        here = self.hub.pushed()
        objects = Objects()
        tip = objects.commit(None, here)
        for bad in (("refs/heads/b", "1" * 40, tip), ("refs/x", ZERO, tip), (MASTER + "/sub", ZERO, tip)):
            with self.subTest(bad=bad):
                receipt = self.hub.push([(MASTER, here, tip), bad], objects.pack(), b"report-status atomic")
                self.assertEqual(receipt.updates, [])
                self.assertIn(b"atomic push failed", receipt.report)
                self.assertEqual(self.hub.repositories.head("webapp"), here)

    def test_without_atomic_the_others_move(self) -> None:
        """Each ref for itself."""
        here = self.hub.pushed()
        objects = Objects()
        tip = objects.commit(None, here)
        receipt = self.hub.push([(MASTER, here, tip), ("refs/heads/b", "1" * 40, tip)], objects.pack())
        self.assertEqual([update.ref for update in receipt.updates], [MASTER])


class RefNameTests(ReceivingTests):
    def test_only_well_formed_branches_and_tags_are_taken(self) -> None:
        """Everything else is refused, and makes no file anywhere."""
        tip = self.hub.pushed()
        names: list[str | bytes] = ["HEAD", "config", "refs/deploy/" + tip, "refs/notes/x", "refs/heads/../x"]
        names += ["refs/heads/x.lock", "refs/heads/a b", "refs/heads/a\nb", b"refs/heads/\xff\xfe", "refs/heads/.x"]
        names += ["refs/heads/" + "x" * 300, "refs/heads/" + "x/" * 2000 + "x", "refs/heads/x" * 5000, "refs/heads/"]
        names += ["refs/heads/a//b", "refs/heads/@{1}", "refs/heads/x~1", "/etc/passwd", "../x"]
        for name in names:
            with self.subTest(name=name[:40]):
                self.refused("ng", forge.pack([]), tip, name)

    def test_a_branch_cannot_be_another_ones_directory(self) -> None:
        """Git's files could not hold both."""
        tip = self.hub.pushed()
        self.refused("is in the way", forge.pack([]), tip, MASTER + "/sub")

    def test_a_ref_named_twice_is_refused(self) -> None:
        """Which of the two should win?"""
        objects = Objects()
        tip = objects.commit()
        receipt = self.hub.push([(MASTER, ZERO, tip), (MASTER, ZERO, tip)], objects.pack())
        self.assertEqual(receipt.updates, [])
        self.assertIn(b"named twice", receipt.report)

    def test_the_default_branch_is_not_deleted(self) -> None:
        """HEAD must lead somewhere."""
        tip = self.hub.pushed()
        self.refused("cannot be deleted", b"", ZERO, MASTER, tip)

    def test_names_that_a_shell_would_run_are_only_names(self) -> None:
        """They are legal in git."""
        tip = self.hub.pushed()
        for name in ("refs/heads/-rf", "refs/heads/$(id)", "refs/heads/ü"):
            self.assertEqual(len(self.hub.push([(name, ZERO, tip)], forge.pack([])).updates), 1)

    def test_too_many_commands_are_refused(self) -> None:
        """Before anything is done."""
        self.hub.limits = GitLimits(commands=10)
        tip = "1" * 40
        with self.assertRaises(BadRequest):
            self.hub.push([(f"refs/heads/{n}", ZERO, tip) for n in range(11)])


class ConnectivityTests(ReceivingTests):
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


class TreeTests(ReceivingTests):
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


class BadPackTests(ReceivingTests):
    def test_damaged_packs_are_refused_and_leave_nothing(self) -> None:
        """Each in one sentence."""
        objects = Objects()
        tip = objects.commit()
        good = objects.pack()
        blob = forge.whole(BLOB, b"x" * 100)
        bad = {
            "nothing": b"",
            "half a header": good[:7],
            "cut short": good[:-30],
            "no trailer": good[:-20],
            "wrong checksum": good[:-1] + bytes([good[-1] ^ 1]),
            "junk after": good + b"junk",
            "junk inside": forge.pack([*objects.entries, b"junk"], 3),
            "not a pack": b"KCAP" + good[4:],
            "version 9": good[:4] + (9).to_bytes(4, "big") + good[8:],
            "fewer than said": forge.pack(objects.entries, 9),
            "more than said": forge.pack(objects.entries, 1),
            "too many": forge.pack(objects.entries, 1 << 31),
            "larger than said": forge.pack([*objects.entries, forge.whole(BLOB, b"x" * 100, 99)]),
            "smaller than said": forge.pack([*objects.entries, forge.whole(BLOB, b"x" * 100, 101)]),
            "broken zlib": forge.pack([*objects.entries, blob[:2] + b"\xff" * 20]),
            "unknown kind": forge.pack([*objects.entries, forge.whole(5, b"x")]),
            "twice": forge.pack([*objects.entries, blob, blob]),
            "missing base": forge.pack([*objects.entries, forge.ref_delta("4" * 40, forge.append_delta(b"abc", b"d"))]),
            "offset before the pack": forge.pack([forge.ofs_delta(500, forge.append_delta(b"abc", b"d"))]),
            "offset inside an entry": forge.pack(
                [blob, forge.ofs_delta(len(blob) - 1, forge.append_delta(b"a", b"d"))]
            ),
            "offset to itself": forge.pack([forge.ofs_delta(0, forge.append_delta(b"abc", b"d"))]),
            "other base size": forge.pack([blob, forge.ofs_delta(len(blob), forge.append_delta(b"abc", b"d"))]),
            "empty delta": forge.pack([blob, forge.ofs_delta(len(blob), b"")]),
            "delta cycle": forge.pack([forge.ref_delta("5" * 40, forge.append_delta(b"abc", b"d"))] * 2),
        }
        for name, pack in bad.items():
            with self.subTest(name=name):
                self.refused("unpack ", pack, tip)

    def test_every_cut_of_a_pack_is_refused(self) -> None:
        """Whatever the place."""
        objects = Objects()
        tip = objects.commit()
        good = objects.pack()
        for size in range(len(good)):
            self.refused("unpack ", good[:size], tip)

    def test_limits_are_told(self) -> None:
        """Bytes of the pack, objects, bytes of one object, of one tree, of all, depth of deltas."""
        objects = Objects()
        tip = objects.commit(objects.tree(("100644", b"f", objects.blob(b"x" * 5000))))
        for limits in (
            GitLimits(pack_bytes=100),
            GitLimits(objects=2),
            GitLimits(object_bytes=4999),
            GitLimits(meta_bytes=10),
            GitLimits(inflated_bytes=5000),
        ):
            self.hub.limits = limits
            self.refused("unpack ", objects.pack(), tip)

    def test_a_chain_of_deltas_may_not_be_endless(self) -> None:
        """Nor need the same base held for each of its links."""
        self.hub.limits = GitLimits(delta_depth=50)
        content, entries = b"base", [forge.whole(BLOB, b"base")]
        for number in range(51):
            more = b"%d" % (number % 10)
            entries.append(forge.ofs_delta(len(entries[-1]), forge.append_delta(content, more)))
            content += more
        objects = Objects(entries)
        tip = objects.commit(objects.tree(("100644", b"f", forge.object_id(BLOB, content))))
        self.refused("chain", objects.pack(), tip)
        self.hub.limits = GitLimits()
        self.assertEqual(len(self.hub.push([(MASTER, ZERO, tip)], objects.pack()).updates), 1)

    def test_a_delta_that_copies_more_than_it_says_is_refused(self) -> None:
        """The declared size is believed by nobody."""
        base = b"x" * 60000
        delta = forge.varint(len(base)) + forge.varint(10) + (b"\xb0" + len(base).to_bytes(2, "little")) * 1000
        entry = forge.whole(BLOB, base)
        self.refused("does not fit", forge.pack([entry, forge.ofs_delta(len(entry), delta)]), "1" * 40)


class RequestTests(ReceivingTests):
    def test_what_is_no_push_is_a_bad_request(self) -> None:
        """Garbage, a cut line, a command that is none."""
        for body in (
            b"garbage!",
            b"00",
            b"0003",
            b"zzzz",
            b"0010abc",
            b"ffff",
            b"\0\0\0\0",
            forge.pktlines.line(b"hello"),
        ):
            with self.subTest(body=body), self.assertRaises(BadRequest):
                receive(self.hub.path, io.BytesIO(body), self.hub.limits)

    def test_a_push_of_nothing_is_nothing(self) -> None:
        """git probes with a flush."""
        self.assertEqual(receive(self.hub.path, io.BytesIO(b"0000"), self.hub.limits).report, b"")

    @given(st.binary(max_size=300))
    def test_no_bytes_do_anything_else(self, data: bytes) -> None:
        """Random bodies give a report or a BadRequest, never another exception, never a ref."""
        hub = Hub(Path(self.mktemp()))
        try:
            receipt = receive(hub.path, io.BytesIO(data), hub.limits)
        except BadRequest:
            return
        self.assertEqual(receipt.updates, [])

    @given(st.data())
    def test_a_damaged_pack_never_moves_a_ref_or_crashes(self, data: st.DataObject) -> None:
        """One byte of the content changed, the checksum made right again."""
        hub = Hub(Path(self.mktemp()))
        objects = Objects()
        tip = objects.commit(objects.tree(("100644", b"f", objects.blob(b"some content " * 20))))
        body = bytearray(objects.pack()[:-20])
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        pack = bytes(body) + forge.hashlib.sha1(body).digest()
        receipt = hub.push([(MASTER, ZERO, tip)], pack)
        # A change in unused bits of a zlib header can be harmless; then the objects are what they were.
        if receipt.updates:
            self.assertEqual(hub.repositories.read_file("webapp", tip, "f", 1000), b"some content " * 20)
