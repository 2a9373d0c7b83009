"""What commits and trees may look like, and what is gathered of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import BLOB, COMMIT, TREE
from deployd.git.packs.scanning import object_id
from deployd.git.problems import BadObject
from deployd.git.receiving.census import Census
from deployd.git.receiving.tree_form import TreeForms
from tests.git.forge import WHO

TREE_ID = "a" * 40
HEAD = f"tree {TREE_ID}\n".encode()
WHEN = b"author " + WHO + b"\ncommitter " + WHO + b"\n"


class CommitTests(SynchronousTestCase):
    def times(self, content: bytes) -> list[int]:
        census = Census()
        census.add(COMMIT, b"c" * 20, content)
        return [time for _, _, _, time in census.survey.commits()]

    def test_what_git_writes_is_taken(self) -> None:
        """Signatures, encodings, merged tags, and times that dulwich alone can read."""
        signed = b"gpgsig -----BEGIN\n \n abc\n -----END\n"
        merged = b"mergetag object " + b"b" * 40 + b"\n type commit\n tag v\n tagger " + WHO + b"\n \n m\n"
        for more in (b"", b"encoding latin-1\n", signed, b"encoding x\n" + signed, merged, b"HG:extra x\n"):
            with self.subTest(more=more):
                self.assertEqual(self.times(HEAD + WHEN + more + b"\nmessage"), [1700000000])
        old = b"author A <a> -5 +0000\ncommitter A <a> -5 +0000\n"
        self.assertEqual(self.times(HEAD + old + b"\nbefore 1970"), [0])
        far = b"author A <a> 1 +0000\ncommitter A <a> 1" + b"0" * 30 + b" +0000\n"
        self.assertEqual(self.times(HEAD + far + b"\nfar away"), [0])

    def test_what_could_not_be_read_later_is_refused(self) -> None:
        for content in (
            b"",
            HEAD,
            HEAD + b"\nm",
            HEAD + WHEN.replace(b"1700000000", b"noon") + b"\nm",
            HEAD + HEAD + WHEN,
        ):
            with self.subTest(content=content), self.assertRaises(BadObject):
                self.times(content)

    def test_parents_are_gathered(self) -> None:
        census = Census()
        parents = b"".join(b"parent %b\n" % (digit * 40) for digit in (b"1", b"2"))
        census.add(COMMIT, b"c" * 20, HEAD + parents + WHEN + b"\nm")
        self.assertEqual(census.parents, {b"c" * 20: (b"\x11" * 20, b"\x22" * 20)})

    def test_an_object_is_not_of_two_kinds(self) -> None:
        """Whatever it is, one of those who refer to it is wrong."""
        name = b"x" * 20
        census = Census()
        census.add(TREE, b"t" * 20, b"40000 a\0" + name + b"100644 b\0" + name)
        for kind in (BLOB, TREE):
            with self.assertRaises(BadObject):
                census.check(lambda _, kind=kind: kind)


IDS = st.binary(min_size=20, max_size=20)
TREES = st.dictionaries(
    st.binary(min_size=1, max_size=5).filter(
        lambda name: not set(name) & set(b"\0/\\.") and b"git" not in name.lower()
    ),
    st.tuples(st.sampled_from([b"100644", b"100755", b"120000", b"40000", b"160000"]), IDS),
    max_size=6,
)


class TreeTests(SynchronousTestCase):
    def content(self, entries: dict[bytes, tuple[bytes, bytes]]) -> bytes:
        ordered = sorted(entries, key=lambda name: name + b"/" if entries[name][0] == b"40000" else name)
        return b"".join(entries[name][0] + b" " + name + b"\0" + entries[name][1] for name in ordered)

    @given(st.lists(TREES, min_size=1, max_size=4))
    def test_each_id_is_what_its_mode_says(self, trees: list[dict[bytes, tuple[bytes, bytes]]]) -> None:
        """Whether or not a tree of the same form was seen before."""
        forms = TreeForms()
        for entries in [*trees, *trees]:
            inner, blobs = forms.parts(b"t" * 20, self.content(entries))
            found = list(entries.values())
            self.assertEqual(sorted(inner), sorted(id for mode, id in found if mode == b"40000"))
            self.assertEqual(sorted(blobs), sorted(id for mode, id in found if mode[:2] == b"10" or mode == b"120000"))

    @given(TREES, st.integers(0, 200))
    def test_a_tree_that_is_cut_is_not_taken_for_the_whole(
        self, entries: dict[bytes, tuple[bytes, bytes]], at: int
    ) -> None:
        """Though the whole was seen before."""
        forms, content = TreeForms(), self.content(entries)
        forms.parts(b"t" * 20, content)
        cut = content[: at % (len(content) or 1)]
        try:
            inner, blobs = forms.parts(b"t" * 20, cut)
        except BadObject:
            return
        self.assertTrue(content.startswith(cut))
        self.assertLess(len([*inner, *blobs]), len(entries) + 1)

    def test_an_entry_without_mode_and_name_is_no_empty_tree(self) -> None:
        forms = TreeForms()
        self.assertEqual([*map(list, forms.parts(b"t" * 20, b""))], [[], []])
        with self.assertRaises(BadObject):
            forms.parts(b"t" * 20, b"\0" + b"x" * 20)

    def test_names_are_compared_as_git_does(self) -> None:
        """A directory as if its name ended in a slash."""
        forms = TreeForms()
        right = b"100644 a-\0" + b"x" * 20 + b"40000 a\0" + b"y" * 20 + b"100644 a0\0" + b"z" * 20
        self.assertEqual(forms.parts(object_id(TREE, right), right), ([b"y" * 20], [b"x" * 20, b"z" * 20]))
        with self.assertRaises(BadObject):
            forms.parts(b"t" * 20, b"40000 a\0" + b"y" * 20 + b"100644 a-\0" + b"x" * 20)
