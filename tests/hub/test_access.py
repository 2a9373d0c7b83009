"""Who may do what with a repository."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.access import Action
from deployd.hub.access import GitAccess
from deployd.hub.tokens import LIFETIME, MAX_TOKENS, Tokens
from deployd.net.secret import Secret

EVERYTHING = list(Action)


class TokensTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.tokens = Tokens(self.clock)

    def test_a_token_opens_its_app_for_a_while(self) -> None:
        token = self.tokens.issue("webapp")
        self.clock.advance(LIFETIME - 1)
        self.assertTrue(self.tokens.opens(token, "webapp"))
        for other in (b"", token[:-1], token + b"x", token.swapcase()):
            self.assertFalse(self.tokens.opens(other, "webapp"))
        for app in ("team/webapp", "", "Webapp"):
            self.assertFalse(self.tokens.opens(token, app))
        self.clock.advance(1)
        self.assertFalse(self.tokens.opens(token, "webapp"))
        self.assertEqual(len(self.tokens), 0)

    def test_no_two_are_the_same_and_none_is_short(self) -> None:
        tokens = {self.tokens.issue("webapp") for _ in range(100)}
        self.assertEqual(len(tokens), 100)
        self.assertGreaterEqual(min(map(len, tokens)), 40)

    def test_there_are_never_too_many(self) -> None:
        first = self.tokens.issue("webapp")
        for _ in range(MAX_TOKENS):
            newest = self.tokens.issue("webapp")
        self.assertEqual(len(self.tokens), MAX_TOKENS)
        self.assertFalse(self.tokens.opens(first, "webapp"))
        self.assertTrue(self.tokens.opens(newest, "webapp"))


class AccessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tokens = Tokens(Clock())
        self.public: set[str] = set()
        self.access = GitAccess(Secret("beep boop:/%@ ключ"), self.tokens, self.public.__contains__)

    def allowed(self, user: str, password: bytes, app: str = "webapp") -> list[Action]:
        return [action for action in EVERYTHING if self.access.permits(user.encode(), password, app, action)]

    def test_the_secret_opens_everything_whatever_the_user(self) -> None:
        for user in ("", "git", "drone", "ключ"):
            self.assertEqual(self.allowed(user, "beep boop:/%@ ключ".encode()), EVERYTHING)

    def test_without_it_nothing_is_open(self) -> None:
        for password in (b"", b"beep boop", b"1234", b"\xff"):
            self.assertEqual(self.allowed("git", password), [])

    def test_a_token_reads_one_app(self) -> None:
        token = self.tokens.issue("webapp")
        self.assertEqual(self.allowed("drone", token), [Action.READ, Action.FETCH_DEPLOYED])
        self.assertEqual(self.allowed("drone", token, "other"), [])
        self.assertEqual(self.allowed("git", token), [])

    def test_who_says_nothing_reads_what_is_public(self) -> None:
        self.public.add("webapp")
        for user in ("", "git", "drone"):
            self.assertEqual(self.allowed(user, b""), [Action.READ])
            self.assertEqual(self.allowed(user, b"", "other"), [])

    def test_nobody_tries_secrets_at_what_is_public(self) -> None:
        self.public.add("webapp")
        for user in ("", "git", "drone"):
            self.assertEqual(self.allowed(user, b"wrong"), [])
        self.assertEqual(self.allowed("git", "beep boop:/%@ ключ".encode()), EVERYTHING)

    def test_without_a_secret_everything_is_open(self) -> None:
        self.access = GitAccess(None, self.tokens, self.public.__contains__)
        self.assertEqual(self.allowed("", b""), EVERYTHING)

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_no_other_credentials_open_anything(self, user: bytes, password: bytes) -> None:
        for action in EVERYTHING:
            self.assertFalse(self.access.permits(user, password, "webapp", action))
