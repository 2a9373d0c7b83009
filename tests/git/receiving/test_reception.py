"""A push is accepted whole or leaves nothing; each ref has its verdict."""

from __future__ import annotations

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deployd.git.kinds import BLOB
from deployd.git.limits import GitLimits
from deployd.git.problems import BadRequest
from deployd.git.receiving.receipt import RefUpdate
from deployd.git.receiving.reception import receive
from tests.git import forge
from tests.git.forge import ZERO, Hub, Objects
from tests.git.receiving.pushes import MASTER, PushCase


class AcceptedTests(PushCase):
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


class CompareAndSwapTests(PushCase):
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


class RefNameTests(PushCase):
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


class RequestTests(PushCase):
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
