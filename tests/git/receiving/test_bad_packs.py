"""Packs that are damaged, too large or hostile."""

from __future__ import annotations

from deployd.git.kinds import BLOB
from deployd.git.limits import GitLimits
from tests.git import forge
from tests.git.forge import ZERO, Objects
from tests.git.receiving.pushes import MASTER, PushCase


class BadPackTests(PushCase):
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
