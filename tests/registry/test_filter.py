"""What readers ask for, and which rows that takes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.model.registration import MAX_META_DEPTH
from deployd.registry.filter import MAX_META_KEYS, Near, RowFilter
from tests.registry.rows import COMMIT, OTHER, row

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ANYTHING = JSON | st.floats() | st.binary() | st.dictionaries(st.integers(), st.none(), max_size=2)


def takes(wanted: Any, value: Any) -> bool:
    """Whether a row with this value is found by that one."""
    return RowFilter.parse(meta={"k": wanted}).takes(row(meta={"k": value, "other": 1}))


class ParsingTests(SynchronousTestCase):
    @given(st.text(), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), ANYTHING)
    def test_any_words_are_a_filter_or_invalid(
        self, match: str, namespace: str, app: str, release: str, meta: Any
    ) -> None:
        for meta_too in (meta, {"k": meta}):
            try:
                wanted = RowFilter.parse(match, namespace, app, release, meta_too)
            except Invalid as error:
                self.assertNotIn("\n", str(error))
            else:
                self.assertEqual(hash(wanted), hash(RowFilter.parse(match, namespace, app, release, meta_too)))
                wanted.takes(row(meta={"k": 1}))

    @given(st.text("ab@1.x^~ |-*", max_size=12))
    def test_a_role_and_a_range_are_one_word(self, match: str) -> None:
        try:
            wanted = RowFilter.parse(match)
        except Invalid:
            return
        self.assertEqual(wanted.role, match.partition("@")[0])
        self.assertEqual(bool(wanted.versions), "@" in match)

    def test_what_is_wrong_is_told(self) -> None:
        for match in ("@1", "a b", "a@b@c", "say@latest", "é"):
            with self.assertRaises(Invalid):
                RowFilter.parse(match)
        self.assertEqual(RowFilter.parse("say@ "), RowFilter(role="say", versions="*"))

    def test_words_are_bounded(self) -> None:
        for long in (
            {"namespace": "n" * 301},
            {"app": "a" * 60_000},
            {"release": "v" * 301},
            {"meta": {"k" * 9999: 1}},
        ):
            with self.assertRaises(Invalid) as caught:
                RowFilter.parse("http", **long)
            self.assertLess(len(str(caught.exception)), 300)
        with self.assertRaises(Invalid):
            Near.parse("a" * 300 + ":v1")

    def test_metadata_is_bounded_json(self) -> None:
        deep: Any = 1
        for _ in range(MAX_META_DEPTH):
            deep = [deep]
        RowFilter.parse(meta={"k": deep})
        endless: list[Any] = []
        endless.append(endless)
        many = dict.fromkeys(map(str, range(MAX_META_KEYS + 1)), "")
        for meta in ({"k": [deep]}, {"k": endless}, {"k": float("nan")}, {"k": b""}, {"k": "x" * 5000}, many, [1], "k"):
            with self.assertRaisesRegex(Invalid, "metadata is looked for by"):
                RowFilter.parse(meta=meta)

    @given(st.text())
    def test_any_near_word_is_one_or_invalid(self, text: str) -> None:
        try:
            near = Near.parse(text)
        except Invalid:
            self.assertIn(":", text)
        else:
            self.assertEqual(f"{near.app}:{near.release}" if ":" in text else near.namespace, text)
            near.has(row())


class MetadataTests(SynchronousTestCase):
    def test_a_number_is_its_value(self) -> None:
        self.assertTrue(takes(3, 3) and takes(3.0, 3) and takes(3, 3.0) and takes(-0.0, 0))
        self.assertFalse(takes(3, 4) or takes(3, 3.5) or takes(3, "3"))

    def test_truth_and_nothing_are_no_numbers_or_texts(self) -> None:
        self.assertTrue(takes(True, True) and takes(None, None))
        for wanted, value in (
            (True, 1),
            (1, True),
            (0, False),
            (False, None),
            (None, 0),
            (None, "null"),
            (True, "true"),
        ):
            self.assertFalse(takes(wanted, value), (wanted, value))

    def test_what_is_no_text_may_be_asked_for_by_its_text(self) -> None:
        """A person on a command line, or in a URL, has only texts."""
        for wanted, value in (("3", 3), ("3.0", 3), ("3", "3"), ("true", True), ("null", None), ("[1, 2]", [1, 2])):
            self.assertTrue(takes(wanted, value), (wanted, value))
        for wanted, value in (("3", "3.0"), ("True", True), ("1", True), ("", None), ("[1,2", [1, 2]), ("[" * 4000, 1)):
            self.assertFalse(takes(wanted, value), (wanted, value))

    def test_what_is_inside_is_compared_as_strictly(self) -> None:
        self.assertTrue(takes({"a": [1, {"b": 2.0}], "c": 0}, {"c": 0, "a": [1, {"b": 2}]}))
        for wanted, value in (
            ([1], [True]),
            ({"a": 1}, {"a": True}),
            ([1], ["1"]),
            ({"a": 1}, {"a": 1, "b": 2}),
            ([], {}),
        ):
            self.assertFalse(takes(wanted, value), (wanted, value))

    def test_a_key_that_is_not_there_has_no_value(self) -> None:
        for wanted in (None, "", "null", 0, False):
            self.assertFalse(RowFilter.parse(meta={"k": wanted}).takes(row(meta={})))
        self.assertFalse(RowFilter.parse(meta={"k": 1, "no": 1}).takes(row(meta={"k": 1})))

    @given(JSON)
    def test_every_value_is_found_by_itself_and_by_its_text(self, value: Any) -> None:
        self.assertTrue(takes(value, value))
        self.assertTrue(takes(value, json.loads(json.dumps(value))))
        if not isinstance(value, str):
            self.assertTrue(takes(json.dumps(value), value))

    @given(JSON, JSON)
    def test_values_are_found_by_each_other_or_neither_is(self, one: Any, other: Any) -> None:
        if isinstance(one, str) == isinstance(other, str):
            self.assertEqual(takes(one, other), takes(other, one))


class NamespaceTests(SynchronousTestCase):
    def takes(self, wanted: str, namespace: str) -> bool:
        found = RowFilter.parse(namespace=wanted)
        self.assertIn(found.exact_namespace, ("", wanted))
        return found.takes(row(namespace=namespace))

    def test_a_commit_is_found_by_four_digits_or_more(self) -> None:
        for digits in range(4, 41):
            self.assertTrue(self.takes(COMMIT[:digits], COMMIT))
            self.assertFalse(self.takes(COMMIT[:digits], OTHER))
        self.assertFalse(self.takes(COMMIT[:3], COMMIT))
        self.assertFalse(self.takes(COMMIT[:8].upper(), COMMIT))
        self.assertFalse(self.takes(COMMIT[:8] + "\n", COMMIT))

    def test_other_namespaces_are_found_by_their_whole_name(self) -> None:
        self.assertTrue(self.takes("default", "default") and self.takes("cafe", "cafe"))
        for namespace in (COMMIT[:12], COMMIT[:39], COMMIT[:8] + "-mine", COMMIT + "0"):
            self.assertFalse(self.takes(COMMIT[:8], namespace), namespace)

    def test_no_namespace_is_all(self) -> None:
        self.assertTrue(self.takes("", COMMIT) and self.takes("", "default"))


class NearTests(SynchronousTestCase):
    def test_a_namespace_or_a_release_is_near(self) -> None:
        self.assertTrue(Near.parse(COMMIT).has(row()))
        self.assertTrue(Near.parse("team/webapp:v2").has(row(app="team/webapp", release="v2")))
        for text in ("", OTHER, COMMIT[:8], "webapp:v2", "other:v1"):
            self.assertFalse(Near.parse(text).has(row()), text)

    def test_half_a_release_is_invalid(self) -> None:
        for text in (":", "webapp:", ":v1"):
            with self.assertRaises(Invalid):
                Near.parse(text)

    def test_nobody_near_narrows_nothing(self) -> None:
        self.assertIsNone(Near().narrowed(RowFilter(role="say")))
        self.assertEqual(Near(COMMIT).narrowed(RowFilter(role="say")), RowFilter(role="say", namespace=COMMIT))
