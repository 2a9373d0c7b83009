"""Names: what is accepted is safe as a directory and a URL path; what is not gets one sentence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.model.names import app_name, drone_name, is_commit, label, release_number, role_name, shown

BAD_APPS = [
    "",
    "../../x",
    "-rf",
    "a//b",
    "/a",
    "a/",
    "x.git/..",
    "x.git",
    "a/x.GIT",
    "x.lock",
    "a..b",
    ".hidden",
    "a/.git",
    "a" * 300,
    "a\0b",
    "a\nb",
    "ä",
    "a b",
    "-",
    "healthz",
    "metrics/x",
    "%2e%2e",
    "x.",
]


class AppNameTests(SynchronousTestCase):
    def test_ordinary_names_are_accepted(self) -> None:
        for name in ("webapp", "team/webapp", "a", "A.b-c_d", "9lives", "x/y/z"):
            self.assertEqual(app_name(name), name)

    def test_bad_names_are_refused_with_one_line(self) -> None:
        for name in BAD_APPS:
            error = self.assertRaises(Invalid, app_name, name)
            self.assertNotIn("\n", str(error))
            self.assertLess(len(str(error)), 200)

    @given(st.text(max_size=120))
    def test_an_accepted_name_stays_in_its_place(self, text: str) -> None:
        try:
            name = app_name(text)
        except Invalid:
            return
        self.assertTrue(name.isascii() and name.isprintable())
        for part in name.split("/"):
            self.assertNotIn(part, ("", ".", ".."))
            self.assertFalse(part.startswith(("-", ".")))
            self.assertFalse(part.lower().endswith(".git"))


class OtherNameTests(SynchronousTestCase):
    def test_words_are_checked(self) -> None:
        self.assertEqual(drone_name("web-1.example"), "web-1.example")
        self.assertEqual(role_name("http"), "http")
        self.assertEqual(label("region=eu"), ("region", "eu"))
        for check, text in ((drone_name, "a b"), (drone_name, ""), (role_name, "a.b"), (label, "x"), (label, "=y")):
            self.assertRaises(Invalid, check, text)

    def test_commits_and_releases_are_told_apart(self) -> None:
        self.assertTrue(is_commit("a" * 40))
        self.assertFalse(is_commit("A" * 40))
        self.assertFalse(is_commit("a" * 39))
        self.assertEqual(release_number("v12"), 12)
        for text in ("v0", "v", "12", "v1x", "v" + "9" * 30):
            self.assertIsNone(release_number(text))

    @given(st.text())
    def test_what_an_error_repeats_is_short_and_on_one_line(self, text: str) -> None:
        self.assertLess(len(shown(text)), 700)
        self.assertNotIn("\n", shown(text))
