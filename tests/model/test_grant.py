"""The lines of authorized keys: what they open, and that nothing is open by mistake."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.grant import ANY, Grant, key_text, public_key
from deployd.model.instance import instance_id
from deployd.model.invalid import Invalid
from deployd.model.names import is_commit
from deployd.model.registration import Registration

KEY = bytes(range(32))
TEXT = key_text(KEY)
ROW = Registration("w1", "default", "web", "", 8000)

ROLES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
NAMESPACES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda text: not is_commit(text))


def words(each: st.SearchStrategy[str]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(each, min_size=1, max_size=5) | st.just(ANY)


GRANTS = st.builds(Grant, st.binary(min_size=32, max_size=32), NAMESPACES, words(ROLES), words(NAMESPACES))


class LineTests(SynchronousTestCase):
    def test_a_line_says_whose_key_may_register_what(self) -> None:
        found = Grant.parse(f"ed25519 {TEXT} ci roles=web,say namespaces=default,staging")
        self.assertEqual(found, Grant(KEY, "ci", frozenset({"web", "say"}), frozenset({"default", "staging"})))
        self.assertEqual(Grant.parse(f"\ted25519  {TEXT} ci namespaces=* roles=* "), Grant(KEY, "ci"))

    @given(GRANTS)
    def test_a_grant_is_what_its_line_says(self, grant: Grant) -> None:
        self.assertEqual(Grant.parse(grant.line()), grant)

    @given(st.text() | st.builds("ed25519 {} {} {}".format, st.sampled_from([TEXT, "x"]), st.text(), st.text()))
    def test_whatever_else_it_is_a_line_is_refused_with_a_sentence(self, text: str) -> None:
        try:
            grant = Grant.parse(text)
        except Invalid as error:
            self.assertNotIn("\n", str(error))
        else:
            self.assertEqual(Grant.parse(grant.line()), grant)

    def test_wrong_lines(self) -> None:
        rest = "ci roles=web namespaces=default"
        for text, why in (
            ("", "begins with 'ed25519'"),
            (f"ssh-ed25519 {TEXT} {rest}", "begins with 'ed25519'"),
            ("ed25519", "come the key, a name"),
            (f"ed25519 {TEXT}", "come the key, a name"),
            (f"ed25519 {TEXT[:-1]} {rest}", "a key is 32 bytes in base64"),
            (f"ed25519 {key_text(KEY[1:])} {rest}", "a key is 32 bytes"),
            (f"ed25519 {TEXT[:-2]}9= {rest}", "a key is 32 bytes"),
            (f"ed25519 ключ {rest}", "a key is 32 bytes"),
            (f"ed25519 {TEXT} ci", "roles=... is missing"),
            (f"ed25519 {TEXT} ci roles=web", "namespaces=... is missing"),
            (f"ed25519 {TEXT} ci namespaces=default", "roles=... is missing"),
            (f"ed25519 {TEXT} a b roles=web namespaces=default", "a name is one word"),
            (f"ed25519 {TEXT} a/b roles=web namespaces=default", "no name for a key"),
            (f"ed25519 {TEXT} ci roles=web roles=say namespaces=default", "roles= is there twice"),
            (f"ed25519 {TEXT} ci roles= namespaces=default", "not a role"),
            (f"ed25519 {TEXT} ci roles=web, namespaces=default", "not a role"),
            (f"ed25519 {TEXT} ci roles=we* namespaces=default", "not a role"),
            (f"ed25519 {TEXT} ci roles=web namespaces=a/b", "not a namespace"),
            (f"ed25519 {TEXT} ci roles=web namespaces={'c0ffee12' * 5}", "is a commit"),
            (f"ed25519 {TEXT} ci Roles=web namespaces=default", "neither roles=... nor namespaces=..."),
            (f"ed25519 {TEXT} ci roles=web namespaces=default # mine", "neither roles=... nor"),
            (f"ed25519 {TEXT} {rest},{'x' * 5000}", "more than 4096"),
        ):
            with self.assertRaises(Invalid) as caught:
                Grant.parse(text)
            self.assertIn(why, str(caught.exception), text)

    def test_a_key_has_one_text(self) -> None:
        self.assertEqual(public_key(TEXT), KEY)
        for text in (TEXT.rstrip("="), TEXT + "\n", f" {TEXT}", TEXT + "===="):
            self.assertRaises(Invalid, public_key, text)


class RefusalTests(SynchronousTestCase):
    def test_roles_and_namespaces_are_those_of_the_line(self) -> None:
        grant = Grant(KEY, "ci", frozenset({"web"}), frozenset({"default", "staging"}))
        self.assertEqual(grant.refusal(ROW), "")
        self.assertEqual(grant.refusal(evolve(ROW, namespace="staging")), "")
        self.assertEqual(
            grant.refusal(evolve(ROW, role="say")), "the key of ci may not register the role 'say', only web"
        )
        self.assertEqual(
            grant.refusal(evolve(ROW, namespace="prod")),
            "the key of ci may not register in the namespace 'prod', only in default, staging",
        )

    @given(GRANTS, st.from_regex(r"[0-9a-f]{40}", fullmatch=True))
    def test_no_grant_opens_what_drones_run(self, grant: Grant, commit: str) -> None:
        open_to_all = evolve(grant, roles=ANY, namespaces=ANY)
        own_id = instance_id("owner", "webapp", "v1", commit, "web")
        for row in (
            evolve(ROW, namespace=commit),
            evolve(ROW, app="webapp"),
            evolve(ROW, release="v1"),
            evolve(ROW, id=own_id),
        ):
            self.assertNotEqual(open_to_all.refusal(row), "")
        self.assertEqual(open_to_all.refusal(ROW), "")
