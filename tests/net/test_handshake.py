"""The handshake: who is let in, who is not, and that nothing else is answered before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.test.iosim import connect
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import (
    IncompatibleVersion,
    InternalError,
    Malformed,
    PermissionRefused,
    Refused,
    SecretRefused,
    UsageError,
)
from deployd.net.conversation import Conversation
from deployd.net.handshake import Credentials, Transcript, agreed_version
from deployd.net.identity import Identity, owner_of, signed
from deployd.net.peer import Peer
from deployd.net.secret import Secret, drone_credential, proof, proves
from deployd.net.server import HANDSHAKE_DEADLINE, Session
from deployd.testing.transports import transport
from deployd.wire.handshake import Hello, Prove
from tests.net.links import SECRET, Ends, credentials, terms


class HandshakeTests(SynchronousTestCase):
    def test_the_right_secret_is_let_in_and_told_the_facts(self) -> None:
        sessions: list[Session] = []

        def conversation(peer: Peer, session: Session) -> Conversation:
            sessions.append(session)
            return Conversation()

        ends = Ends(terms(conversations={"deploy": conversation}))
        self.successResultOf(ends.greet())
        self.assertEqual(ends.client.facts, {"http": "127.0.0.1:6002"})
        self.assertEqual(
            [(s.purpose, s.proven, s.owner, s.host) for s in sessions], [("deploy", True, "", "127.0.0.1")]
        )

    def test_a_wrong_secret_is_refused_and_the_right_one_still_passes_after_many(self) -> None:
        for number in range(50):
            error = self.failureResultOf(Ends().greet(credentials(Secret(f"wrong {number}"))), SecretRefused)
            self.assertIn("wrong", str(error.value))
        self.successResultOf(Ends().greet())

    def test_secrets_are_text_whatever_they_look_like(self) -> None:
        for text in ("1234", "a:/%@ b", "ключ", "\udcff", " "):
            ends = Ends(terms(secret=Secret(text)))
            self.successResultOf(ends.greet(credentials(Secret(text))))

    def test_no_secret_where_one_is_asked_for_is_refused(self) -> None:
        self.failureResultOf(Ends().greet(credentials(None)), SecretRefused)

    def test_a_client_with_a_secret_leaves_a_server_without_one(self) -> None:
        ends = Ends(terms(secret=None))
        self.failureResultOf(ends.greet(), SecretRefused)

    def test_a_server_that_does_not_know_the_secret_cannot_pretend(self) -> None:
        """It answers Prove with anything; the client hears that and sends nothing more."""

        class Impostor(amp.AMP):
            @Hello.responder
            def hello(self, **_: object) -> dict:
                return {"version": 2, "kind": "hub", "secret": True, "nonce": b"n" * 32}

            @Prove.responder
            def prove(self, **_: object) -> dict:
                return {"proof": b"p" * 32, "facts": {}, "heartbeat": 1.0, "timeout": 3.0}

        ends = Ends()
        impostor = Impostor()
        ends.client = type(ends.client)(ends.clock)
        ends.pump = connect(impostor, transport(impostor, True), ends.client, transport(ends.client, False))
        error = self.failureResultOf(ends.greet(), SecretRefused)
        self.assertIn("could not prove", str(error.value))

    def test_an_anonymous_session_is_served_only_where_that_is_allowed(self) -> None:
        sessions: list[Session] = []
        reading = {"read": lambda peer, session: (sessions.append(session), Conversation())[1]}
        ends = Ends(terms(kind="registry", conversations=reading, anonymous=frozenset({"read"})))
        self.successResultOf(ends.greet(credentials(None, "read")))
        self.assertFalse(sessions[0].proven)

    def test_an_unknown_purpose_is_refused(self) -> None:
        self.failureResultOf(Ends().greet(credentials(purpose="fly")), PermissionRefused)

    def test_an_owner_is_proved_by_its_key(self) -> None:
        sessions: list[Session] = []
        owners = {"deploy": lambda peer, session: (sessions.append(session), Conversation())[1]}
        identity = Identity.create()
        ends = Ends(terms(conversations=owners))
        self.successResultOf(ends.greet(credentials(identity=identity)))
        self.assertEqual(sessions[0].owner, identity.owner)

    def test_anothers_owner_name_is_refused_even_with_the_secret(self) -> None:
        victim, thief = Identity.create(), Identity.create()
        ends = Ends()
        hello = ends.client.call(Hello, oldest=1, newest=2, program="p", purpose="deploy", nonce=b"n" * 32)
        ends.flush()
        nonce = self.successResultOf(hello)["nonce"]
        transcript = Transcript(1, "hub", "deploy", b"n" * 32, nonce)
        claims = ends.client.call(
            Prove,
            proof=transcript.client_proof(SECRET, victim.owner),
            owner=victim.owner,
            key=thief.key,
            signature=transcript.signature(thief),
        )
        ends.flush()
        self.failureResultOf(claims, SecretRefused)

    def test_nothing_else_is_answered_before_it(self) -> None:
        ends = Ends(terms(conversations={"deploy": lambda peer, session: Echo()}))
        early = ends.client.call(Shout, text="hi")
        ends.flush()
        self.failureResultOf(early, InternalError)
        self.successResultOf(ends.greet())
        late = ends.client.call(Shout, text="hi")
        ends.flush()
        self.assertEqual(self.successResultOf(late), {"text": "HI"})

    def test_half_a_handshake_is_dropped_at_the_deadline(self) -> None:
        ends = Ends()
        hello: Deferred = ends.client.call(Hello, oldest=1, newest=2, program="p", purpose="deploy", nonce=b"n" * 32)
        ends.flush()
        self.successResultOf(hello)
        ends.advance(HANDSHAKE_DEADLINE + 1)
        self.assertTrue(ends.client.is_closed)
        self.assertEqual(ends.factory.peers, set())

    def test_a_connection_has_one_guess_however_fast_the_next_one_comes(self) -> None:
        ends = Ends()
        hello = ends.client.call(Hello, oldest=1, newest=2, program="p", purpose="deploy", nonce=b"n" * 32)
        ends.flush()
        transcript = Transcript(1, "hub", "deploy", b"n" * 32, self.successResultOf(hello)["nonce"])
        proofs = [transcript.client_proof(secret, "") for secret in (Secret("wrong"), SECRET)]
        guesses = [ends.client.call(Prove, proof=proof, owner="", key=b"", signature=b"") for proof in proofs]
        ends.flush()
        self.failureResultOf(guesses[0], SecretRefused)
        self.failureResultOf(guesses[1], Malformed)

    def test_prove_without_hello_and_a_short_nonce_are_malformed(self) -> None:
        ends = Ends()
        prove = ends.client.call(Prove, proof=b"", owner="", key=b"", signature=b"")
        hello = ends.client.call(Hello, oldest=1, newest=2, program="p", purpose="deploy", nonce=b"short")
        ends.flush()
        self.failureResultOf(prove, Malformed)
        self.failureResultOf(hello, Malformed)


class AuthorizedKeyTests(SynchronousTestCase):
    """A key instead of the secret, both ways."""

    def setUp(self) -> None:
        self.sessions: list[Session] = []
        self.listed = Identity.create()
        self.server_identity = Identity.create()

    def ends(self, **changes: Any) -> Ends:
        def conversation(peer: Peer, session: Session) -> Conversation:
            self.sessions.append(session)
            return Conversation()

        plain: dict[str, Any] = {
            "kind": "registry",
            "conversations": {"register": conversation, "read": conversation},
            "authorized": lambda key: key == self.listed.key,
            "identity": lambda: self.server_identity,
        }
        return Ends(terms(**(plain | changes)))

    def refused(self, ends: Ends, mine: Credentials) -> str:
        error = self.failureResultOf(ends.greet(mine), SecretRefused).value
        self.assertEqual(error.exit_code, 4)
        self.assertEqual(self.sessions, [])
        return str(error)

    def test_an_authorized_key_is_let_in_without_the_secret_and_proves_no_secret(self) -> None:
        for purpose in ("register", "read"):
            self.successResultOf(self.ends().greet(credentials(None, purpose, identity=self.listed)))
        self.assertEqual([(s.proven, s.authorized) for s in self.sessions], [(False, True)] * 2)

    def test_whoever_knows_the_secret_is_as_free_as_ever(self) -> None:
        self.successResultOf(self.ends().greet(credentials(purpose="register", identity=Identity.create())))
        self.assertEqual([(s.proven, s.authorized) for s in self.sessions], [(True, False)])

    def test_another_key_is_refused_by_name(self) -> None:
        stranger = Identity.create()
        said = self.refused(self.ends(), credentials(None, "register", identity=stranger))
        self.assertIn(f"the key of {stranger.owner} is not authorized here", said)

    def test_neither_secret_nor_key_is_refused(self) -> None:
        said = self.refused(self.ends(), credentials(None, "read"))
        self.assertIn("needs the secret or an authorized key, and neither was given", said)

    def test_a_wrong_secret_is_refused_whatever_the_key(self) -> None:
        mine = credentials(Secret("wrong"), "register", identity=self.listed)
        self.assertIn("the secret is wrong", self.refused(self.ends(), mine))

    def test_an_authorized_key_that_somebody_else_has_seen_is_worth_nothing(self) -> None:
        """The public key is no secret: without its other half nobody signs for it."""

        class Disguised(Identity):
            key = self.listed.key
            owner = self.listed.owner

        thief = Disguised.create()
        self.assertIn("does not fit", self.refused(self.ends(), credentials(None, "register", identity=thief)))

    def test_a_server_that_takes_keys_is_not_open_to_all_for_want_of_a_secret(self) -> None:
        ends = self.ends(secret=None)
        self.assertIn("needs the secret", self.refused(ends, credentials(None, "register", identity=Identity.create())))
        self.successResultOf(self.ends(secret=None).greet(credentials(None, "register", identity=self.listed)))
        self.assertEqual([(s.proven, s.authorized) for s in self.sessions], [(False, True)])

    def test_a_client_may_ask_for_the_servers_own_key(self) -> None:
        for secret in (None, SECRET):
            keys = (Identity.create().key, self.server_identity.key)
            mine = credentials(secret, "register", identity=self.listed, server_keys=keys)
            self.successResultOf(self.ends().greet(mine))

    def test_a_server_with_another_key_or_none_is_left(self) -> None:
        pinned = credentials(None, "register", identity=self.listed, server_keys=(self.server_identity.key,))
        other = Identity.create()
        for identity in (lambda: other, lambda: None):
            error = self.failureResultOf(self.ends(identity=identity).greet(pinned), SecretRefused)
            self.assertIn("could not prove that it has the key", str(error.value))

    def test_what_a_server_signed_for_one_session_is_worth_nothing_in_another(self) -> None:
        replayed: dict[str, str] = {}
        ends = self.ends()
        self.successResultOf(ends.greet(credentials(None, "register", identity=self.listed)))
        replayed |= {name: ends.client.facts[name] for name in ("key", "signature")}
        mine = credentials(None, "register", identity=self.listed, server_keys=(self.server_identity.key,))
        ends = self.ends(identity=lambda: None, facts=lambda: replayed)
        self.failureResultOf(ends.greet(mine), SecretRefused)
        ends = self.ends(identity=lambda: None, facts=lambda: {"signature": "no hex"})
        self.failureResultOf(ends.greet(mine), SecretRefused)


class VersionTests(SynchronousTestCase):
    def test_a_peer_too_new_or_too_old_hears_which_side_to_upgrade(self) -> None:
        for oldest, newest, words in ((7, 9, "upgrade this side"), (0, 0, "upgrade old")):
            ends = Ends()
            hello = ends.client.call(
                Hello, oldest=oldest, newest=newest, program="old", purpose="deploy", nonce=b"n" * 32
            )
            ends.flush()
            self.assertIn(words, str(self.failureResultOf(hello, IncompatibleVersion).value))

    def test_the_newest_common_version_is_agreed(self) -> None:
        self.assertEqual(agreed_version(1, 5, "x", "drone"), 2)
        self.assertEqual(agreed_version(1, 1, "x", "register"), 1)

    def test_a_drone_that_knows_no_release_commands_is_kept_off_as_is_a_hub(self) -> None:
        for program in ("deployd-drone 0.1.0", "the hub"):
            with self.assertRaises(IncompatibleVersion) as caught:
                agreed_version(1, 1, program, "drone")
            self.assertIn(f"upgrade {program}", str(caught.exception))


class SecretTests(SynchronousTestCase):
    def test_an_empty_secret_is_a_usage_error(self) -> None:
        self.assertRaises(UsageError, Secret, "")

    def test_it_shows_itself_nowhere(self) -> None:
        self.assertNotIn("beep", f"{SECRET!r} {SECRET} {credentials()!r}")

    def test_each_purpose_has_a_key_of_its_own(self) -> None:
        self.assertNotEqual(SECRET.key("deploy"), SECRET.key("drone"))
        self.assertFalse(proves(proof(SECRET.key("deploy"), b"a"), SECRET.key("drone"), b"a"))

    def test_proofs_tell_apart_how_their_parts_are_cut(self) -> None:
        self.assertNotEqual(proof(b"k", b"ab", b"c"), proof(b"k", b"a", b"bc"))

    def test_a_credential_fits_one_owner_and_one_secret(self) -> None:
        mine = drone_credential(SECRET, "owner")
        self.assertNotEqual(mine, drone_credential(SECRET, "other"))
        self.assertNotEqual(mine, drone_credential(Secret("x"), "owner"))


class IdentityTests(SynchronousTestCase):
    def test_it_is_kept_in_its_file_for_its_owner_only(self) -> None:
        path = Path(self.mktemp())
        first = Identity.load(path)
        self.assertEqual(Identity.load(path).owner, first.owner)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(path.read_bytes().hex(), repr(first))

    def test_a_new_one_never_overwrites_a_file(self) -> None:
        path = Path(self.mktemp())
        mine = Identity.new(path)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual((Identity.read(path).owner, Identity.load(path).owner), (mine.owner, mine.owner))
        before = path.read_bytes()
        with self.assertRaises(Refused) as caught:
            Identity.new(path)
        self.assertIn("never overwritten", str(caught.exception))
        self.assertEqual(path.read_bytes(), before)
        with self.assertRaises(Refused):
            Identity.new(path / "below a file")

    def test_a_file_that_somebody_names_has_to_be_a_key(self) -> None:
        """One that is named for reading is never made, unlike a daemon's own."""
        path = Path(self.mktemp())
        for content, why in ((None, "no such file"), (b"", "is not a key"), (b"x" * 33, "is not a key")):
            if content is not None:
                path.write_bytes(content)
            with self.assertRaises(UsageError) as caught:
                Identity.read(path)
            self.assertIn(why, str(caught.exception))

    def test_only_the_owner_signs_for_itself(self) -> None:
        mine, other = Identity.create(), Identity.create()
        self.assertTrue(signed(mine.key, mine.sign(b"m"), b"m"))
        self.assertFalse(signed(mine.key, other.sign(b"m"), b"m"))
        self.assertFalse(signed(b"no key", mine.sign(b"m"), b"m"))
        self.assertEqual(owner_of(mine.key), mine.owner)


class Shout(amp.Command):
    arguments = [(b"text", amp.Unicode())]
    response = [(b"text", amp.Unicode())]


class Echo(Conversation):
    @Shout.responder
    def shout(self, text: str) -> dict[str, str]:
        return {"text": text.upper()}
