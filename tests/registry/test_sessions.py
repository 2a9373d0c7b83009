"""Sessions of owners and readers, through real bytes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from deployd.client.reader import list_rows
from deployd.errors import (
    InternalError,
    Malformed,
    NotOwner,
    PermissionRefused,
    Refused,
    SecretRefused,
    Superseded,
    Unreachable,
    UsageError,
)
from deployd.model.registration import Registration
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import Secret, drone_credential
from deployd.net.server import Session
from deployd.registry.filter import RowFilter
from deployd.registry.limits import Limits
from deployd.registry.responders import OwnerSession
from deployd.wire.registry import Attach, Leave, Publish, Update
from tests.client.network import SECRET, TIMEOUT, Network
from tests.registry.rows import COMMIT, OTHER, row


class SessionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = Network()

    def owner(
        self, identity: Identity | None = None, credential: bytes | None = None, advertise: str = "", name: str = "d1"
    ) -> Peer:
        """A session of an owner that the hub has accepted, attached."""
        mine = identity or Identity.create()
        peer = self.network.session("register", mine)
        proof = drone_credential(SECRET, mine.owner) if credential is None else credential
        self.network.answer(peer.call(Attach, name=name, credential=proof, advertise=advertise))
        return peer

    def publish(self, peer: Peer, *rows: Registration) -> Any:
        return self.network.answer(peer.call(Publish, part=0, parts=1, rows=rows))["revision"]

    def update(self, peer: Peer, put: tuple[Registration, ...] = (), free: tuple[str, ...] = ()) -> Any:
        return self.network.answer(peer.call(Update, put=put, free=free))["revision"]

    def rows(self, secret: Secret | None = None, **wanted: str) -> list[dict[str, Any]]:
        peer = self.network.session("read", secret=secret)
        found: list[dict[str, Any]] = self.network.answer(Deferred.fromCoroutine(list_rows(peer, **wanted)))
        peer.transport.loseConnection()
        return found


class OwnerSessionTests(SessionCase):
    def test_what_is_published_can_be_read_without_a_secret(self) -> None:
        self.publish(self.owner(), row("a", meta={"k": "v"}), row("b", role="say"))
        (found,) = self.rows(role="http")
        self.assertEqual(found["revision"], 1)
        shown = {key: found[key] for key in ("id", "namespace", "app", "release", "host", "port", "drone", "meta")}
        self.assertEqual(
            shown,
            {
                "id": "a",
                "namespace": COMMIT,
                "app": "webapp",
                "release": "v1",
                "host": "127.0.0.1",
                "port": 20001,
                "drone": "d1",
                "meta": {"k": "v"},
            },
        )
        self.assertFalse(found["marked"])

    def test_nothing_shows_before_the_last_part_is_there(self) -> None:
        peer = self.owner()
        self.network.answer(peer.call(Publish, part=0, parts=2, rows=(row("a"),)))
        self.assertEqual(self.rows(), [])
        self.network.answer(peer.call(Publish, part=1, parts=2, rows=(row("b"),)))
        self.assertEqual(len(self.rows()), 2)

    def test_parts_out_of_order_are_refused_and_may_start_again(self) -> None:
        peer = self.owner()
        for part, parts in ((1, 2), (0, 0), (-1, 2), (0, 10**9)):
            with self.assertRaises(Malformed):
                self.network.answer(peer.call(Publish, part=part, parts=parts, rows=()))
        self.publish(peer, row("a"))

    def test_a_publication_that_never_ends_is_cut_off(self) -> None:
        peer = self.owner()
        page = tuple(row(f"r{number}") for number in range(250))
        with self.assertRaises(Refused):
            for part in range(2000):
                self.network.answer(peer.call(Publish, part=part, parts=2000, rows=page))
        self.publish(peer, row("a"))

    def test_attach_comes_first_and_once(self) -> None:
        peer = self.network.session("register", Identity.create())
        for call in ((Publish, {"part": 0, "parts": 1, "rows": ()}), (Update, {"put": (), "free": ()}), (Leave, {})):
            with self.assertRaises(Malformed):
                self.network.answer(peer.call(call[0], **call[1]))
        with self.assertRaises(Malformed):
            self.network.answer(self.owner().call(Attach, name="", credential=b"", advertise=""))

    def test_an_owner_needs_a_key_and_the_secret(self) -> None:
        with self.assertRaises(SecretRefused):
            self.network.session("register", Identity.create(), secret=None)
        peer = self.network.session("register")
        with self.assertRaises(PermissionRefused):
            self.network.answer(peer.call(Attach, name="", credential=b"", advertise=""))

    def test_a_session_that_proved_nothing_may_not_attach(self) -> None:
        """The handshake refuses it before; this is the second lock."""
        unproven = Session("register", False, Identity.create().owner, "127.0.0.1", "test")
        conversation = OwnerSession(self.network.registry, Peer(self.network.clock), unproven)
        attach = conversation.locateResponder(b"Attach")
        assert attach is not None
        box = amp.AmpBox({b"name": b"", b"credential": b"", b"advertise": b"", b"_ask": b"1"})
        self.assertEqual(self.failureResultOf(attach(box)).value.errorCode, b"PermissionRefused")

    def test_readers_change_nothing(self) -> None:
        for secret in (None, SECRET):
            peer = self.network.session("read", Identity.create(), secret=secret)
            with self.assertRaises(InternalError):
                self.network.answer(peer.call(Attach, name="", credential=b"", advertise=""))
            with self.assertRaises(InternalError):
                self.network.answer(peer.call(Update, put=(), free=()))

    def test_commits_are_written_with_the_hubs_credential_alone(self) -> None:
        mine = Identity.create()
        strangers = drone_credential(SECRET, Identity.create().owner)
        for credential in (b"", b"x" * 32, strangers, drone_credential(Secret("other"), mine.owner)):
            with self.assertRaises(PermissionRefused):
                self.publish(self.owner(mine, credential), row())
        self.publish(self.owner(mine, b""), row(namespace="dev"))

    def test_names_and_hosts_that_cannot_be_are_refused(self) -> None:
        for name, advertise in (("a b", ""), ("x" * 64, ""), ("d", "a b"), ("d", "http://x"), ("d", "h" * 300)):
            with self.assertRaises(UsageError):
                self.owner(name=name, advertise=advertise)

    def test_goodbye_frees_the_rows_now(self) -> None:
        peer = self.owner()
        self.publish(peer, row())
        self.network.answer(peer.call(Leave))
        self.assertEqual(self.rows(), [])
        with self.assertRaises(Superseded):
            self.publish(peer, row())


class TakeoverTests(SessionCase):
    def test_a_new_session_of_the_owner_hangs_up_on_the_earlier_one(self) -> None:
        identity = Identity.create()
        old = self.owner(identity)
        self.publish(old, row("a"))
        new = self.owner(identity)
        self.network.flush()
        self.assertTrue(old.is_closed)
        self.assertEqual([(found["id"], found["marked"]) for found in self.rows()], [("a", True)])
        self.publish(new, row("b"))
        self.assertEqual([(found["id"], found["marked"]) for found in self.rows()], [("b", False)])

    def test_what_the_earlier_one_still_says_is_superseded(self) -> None:
        """It was on the way when the newer session attached, and may hear no more than that its link is gone."""
        identity = Identity.create()
        old = self.owner(identity)
        self.publish(old, row("a"))
        self.network.registry.attach(identity.owner, "d1", b"", "", "127.0.0.1", lambda: None)
        late = old.call(Update, put=(), free=("a",))
        self.network.flush()
        self.failureResultOf(late, Superseded, Unreachable)
        self.assertEqual([found["id"] for found in self.rows()], ["a"])

    def test_an_impostor_with_the_secret_but_another_key_gets_nowhere(self) -> None:
        self.publish(self.owner(), row("w1"))
        stranger = self.owner()
        with self.assertRaises(NotOwner):
            self.publish(stranger, row("w1", port=6666))
        self.publish(stranger)
        for put, free in (((row("w1", port=6666),), ()), ((), ("w1",))):
            with self.assertRaises(NotOwner):
                self.update(stranger, put, free)
        (found,) = self.rows()
        self.assertEqual((found["port"], found["marked"]), (20001, False))

    def test_an_impostor_that_claims_the_owners_name_is_not_let_in(self) -> None:
        victim, thief = Identity.create(), Identity.create()

        class Disguised(Identity):
            owner = victim.owner

        with self.assertRaises(SecretRefused):
            self.network.session("register", Disguised(thief._private))


class LostLinkTests(SessionCase):
    def test_a_fin_marks_at_once_and_frees_after_the_timeout(self) -> None:
        peer = self.owner()
        self.publish(peer, row())
        peer.transport.loseConnection()
        self.network.flush()
        self.assertEqual([found["marked"] for found in self.rows()], [True])
        self.network.advance(TIMEOUT - 1)
        self.assertEqual(len(self.rows()), 1)
        self.network.advance(1)
        self.assertEqual(self.rows(), [])
        self.assertEqual(self.network.registry.revision.number, 2)

    def test_an_owner_that_falls_silent_is_marked_and_freed(self) -> None:
        """Its machine lost power: no FIN ever comes, and no answer to the keepalive."""
        self.publish(self.owner(), row())
        self.network.silence()
        self.network.advance(TIMEOUT - 1)
        self.assertEqual([found["marked"] for found in self.rows()], [False])
        self.network.advance(16)
        self.assertEqual([found["marked"] for found in self.rows()], [True])
        self.network.advance(TIMEOUT)
        self.assertEqual(self.rows(), [])

    def test_an_owner_that_only_answers_keepalives_stays(self) -> None:
        self.publish(self.owner(), row())
        self.network.advance(20 * TIMEOUT)
        self.assertEqual([found["marked"] for found in self.rows()], [False])

    def test_each_owner_falls_in_its_own_time(self) -> None:
        first, second = self.owner(), self.owner()
        self.publish(first, row("a"))
        self.publish(second, row("b"))
        first.transport.loseConnection()
        self.network.advance(10)
        second.transport.loseConnection()
        self.network.advance(TIMEOUT - 9)
        self.assertEqual([found["id"] for found in self.rows()], ["b"])
        self.network.advance(10)
        self.assertEqual(self.rows(), [])


class ReaderSessionTests(SessionCase):
    def test_many_rows_come_in_pages(self) -> None:
        peer = self.owner()
        rows = [row(f"r{number:04}", meta={"text": "x" * 100}) for number in range(1000)]
        for start in range(0, 1000, 100):
            page = tuple(rows[start : start + 100])
            self.network.answer(peer.call(Publish, part=start // 100, parts=10, rows=page))
        self.assertEqual([found["id"] for found in self.rows()], [one.id for one in rows])

    def test_the_largest_row_fits_a_page(self) -> None:
        peer = self.owner(name="d" * 63, advertise="h" * 255)
        big = row("i" * 128, app="a" * 100, role="r" * 63, version="1" * 64, meta={"k": "\u20ac" * 680})
        self.publish(peer, big, row("small"))
        self.assertEqual(len(self.rows()), 2)

    def test_filters_and_a_prefix_of_the_commit(self) -> None:
        self.publish(self.owner(), row("a"), row("b", namespace=OTHER, release="v2", role="say"))
        for wanted, ids in (
            ({"namespace": COMMIT[:4]}, ["a"]),
            ({"namespace": COMMIT[:3]}, []),
            ({"namespace": OTHER}, ["b"]),
            ({"release": "v2", "app": "webapp"}, ["b"]),
            ({"role": "http", "release": "v2"}, []),
            ({"app": "../../x"}, []),
        ):
            self.assertEqual([found["id"] for found in self.rows(**wanted)], ids)


class BadBytesTests(SessionCase):
    """What killed seaport before anyone had logged in: null metadata, wrong types (notes on the ancestors)."""

    def raw(self, peer: Peer, command: type[amp.Command], **arguments: bytes) -> Any:
        """A box with these very bytes as arguments."""
        box = amp.AmpBox({key.encode(): value for key, value in arguments.items()})
        sent = peer._sendBoxCommand(command.commandName, box, True)
        results: list[Any] = []
        sent.addBoth(results.append)
        self.network.flush()
        (result,) = results
        return getattr(result.value, "errorCode", result.value)

    def test_null_metadata_and_wrong_types_are_malformed_and_the_registry_lives(self) -> None:
        peer = self.owner()
        self.publish(peer, row("a"))

        def with_more(more: str) -> str:
            return '[{"id":"x","namespace":"n","role":"r","host":""' + more + "}]"

        rows = ["null", "5", '"x"', "{}", "[null]", "[[]]", '["register","x"]', "[" * 5000, "\x00", ""]
        rows += [with_more(f',"port":{port}') for port in ('"80"', "80.5", "true", "null", "[]")]
        rows += [with_more(f',"port":80,"meta":{meta}') for meta in ("null", "[]", '"x"', "7")]
        rows += [with_more(""), with_more(',"port":80,"app":null'), with_more(',"port":80,"id":{}')]
        for text in rows:
            for command, arguments in (
                (Publish, {"part": b"0", "parts": b"1", "rows": text.encode()}),
                (Update, {"put": text.encode(), "free": b"[]"}),
            ):
                self.assertEqual(self.raw(peer, command, **arguments), b"Malformed", (command, text))
        for free in (b"null", b"[null]", b"[[]]", b'{"a":1}', b"\xff"):
            self.assertEqual(self.raw(peer, Update, put=b"[]", free=free), b"Malformed", free)
        self.assertEqual(self.raw(peer, Publish, part=b"x", parts=b"1", rows=b"[]"), b"Malformed")
        self.assertEqual(self.raw(peer, Update), b"Malformed")
        self.assertFalse(peer.is_closed)
        self.assertEqual([found["id"] for found in self.rows()], ["a"])

    def test_huge_and_negative_ports_are_refused_with_a_sentence(self) -> None:
        peer = self.owner()
        for port in (0, -1, 65536, 10**300):
            with self.assertRaises(UsageError):
                self.publish(peer, row(port=port))

    def test_ids_that_other_languages_trip_over_are_just_ids_or_refused(self) -> None:
        peer = self.owner()
        self.publish(peer, row("constructor"), row("a:b"))
        for name in ("__proto__", "", "a\0b", "a b", "\u202e", "x" * 129, "-rf", "../x"):
            with self.assertRaises(UsageError):
                self.update(peer, (row(name),))

    def test_a_reader_may_ask_for_anything(self) -> None:
        peer = self.network.session("read", secret=None)
        arguments = dict.fromkeys(("namespace", "app", "release", "role", "after"), b"\0\xc3\xa9" * 1000)
        self.assertEqual(self.raw_answer(peer, arguments)["rows"], b"[]")

    def raw_answer(self, peer: Peer, arguments: dict[str, bytes]) -> Any:
        box = amp.AmpBox({key.encode(): value for key, value in arguments.items()})
        results: list[Any] = []
        peer._sendBoxCommand(b"ListRows", box, True).addBoth(results.append)
        self.network.flush()
        return {key.decode(): value for key, value in results[0].items()}


class QuotaTests(SessionCase):
    def setUp(self) -> None:
        self.network = Network(limits=Limits(rows_per_owner=3, rows=5))

    def test_nobody_fills_up_the_registry(self) -> None:
        first, second = self.owner(), self.owner()
        with self.assertRaises(Refused):
            self.publish(first, *(row(f"a{number}") for number in range(4)))
        self.publish(first, *(row(f"a{number}") for number in range(3)))
        with self.assertRaises(Refused):
            self.publish(second, *(row(f"b{number}") for number in range(3)))
        self.publish(second, row("b0"))
        self.assertEqual(len(list(self.network.registry.rows(RowFilter()))), 4)
