"""Authorized keys: their files, and what a session by one of them may do.

The ancestor's were broken: ``seaport listen PORT [KEY.json..]`` ignored its keys, ``authorized`` did not exist and
``--key`` signed nothing; some of these tests are named after that.
"""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.client.reader import list_rows
from deployd.errors import DeploydError, PermissionRefused, Refused, SecretRefused, Unreachable
from deployd.model.grant import Grant
from deployd.net.identity import Identity
from deployd.net.secret import Secret, drone_credential
from deployd.registry.grants import LOOK, SLOW, Grants
from deployd.registry.key_files import read_keys
from deployd.wire.registry import Attach, Confirm, Leave, Update
from tests.client.network import SECRET, TIMEOUT
from tests.registry.keyed import KeyedNetwork
from tests.registry.rows import COMMIT, row

MINE = row("w1", namespace="dev", app="", release="")


def line(identity: Identity, name: str = "ci") -> str:
    return Grant.of(identity.key, name).line()


class KeyFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.a, self.b = Identity.create(), Identity.create()

    def write(self, name: str, *lines: str) -> None:
        (self.directory / name).write_text("\n".join(lines))

    def names(self) -> list[str]:
        return sorted(grant.name for grant in read_keys(self.directory).grants.values())

    def problems(self) -> list[str]:
        return [problem.removeprefix(f"{self.directory}/") for problem in read_keys(self.directory).problems]

    def test_files_have_lines_and_comments(self) -> None:
        self.write("team", "# ours", "", line(self.a, "a") + "\r", "   ", "\t# more", line(self.b, "b"))
        self.assertEqual((self.names(), self.problems()), (["a", "b"], []))
        self.assertEqual(set(read_keys(self.directory).owners), {self.a.owner, self.b.owner})

    def test_a_wrong_line_is_told_by_its_place_and_the_others_count(self) -> None:
        self.write("team", line(self.a, "a"), "nonsense", "ed25519 x y", line(self.b, "b"))
        self.assertEqual(self.names(), ["a", "b"])
        first, second = self.problems()
        self.assertTrue(first.startswith("team:2: a line begins with 'ed25519'"))
        self.assertTrue(second.startswith("team:3: "))
        self.assertTrue(first.endswith("; the line is ignored"))

    def test_the_first_line_of_a_key_counts(self) -> None:
        self.write("a", line(self.a, "first"))
        self.write("b", line(self.a, "second"))
        self.assertEqual(self.names(), ["first"])
        self.assertIn("a:1 already, and only that line counts", self.problems()[0])

    def test_what_editors_and_kubernetes_leave_is_passed_over(self) -> None:
        for name in (".team.swp", "team~", "..data"):
            self.write(name, line(self.a))
        self.assertEqual((self.names(), self.problems()), ([], []))

    def test_what_is_no_file_of_text_is_told_and_never_waited_for(self) -> None:
        os.mkfifo(self.directory / "fifo")
        (self.directory / "folder").mkdir()
        (self.directory / "gone").symlink_to("nowhere")
        (self.directory / "loop").symlink_to("loop")
        with socket.socket(socket.AF_UNIX) as listening:
            # By a short way: the name of a socket is.
            here = os.open(self.directory, os.O_RDONLY)
            self.addCleanup(os.close, here)
            listening.bind(f"/proc/self/fd/{here}/socket")
        Identity.new(self.directory / "private")
        (self.directory / "latin").write_bytes(b"\xff\xfe")
        (self.directory / "large").write_bytes(b"#" * 300_000)
        self.write("team", line(self.a))
        self.assertEqual(self.names(), ["ci"])
        told = {problem.partition(":")[0] for problem in self.problems()}
        self.assertLessEqual({"fifo", "folder", "gone", "large", "latin", "loop", "socket"}, told)

    def test_more_than_a_registry_reads_is_told(self) -> None:
        for number in range(40):
            (self.directory / f"k{number:02}").write_bytes(b"#" * 256 * 1024)
        self.write("z", line(self.a))
        self.assertEqual(self.names(), [])
        self.assertIn("33 of 41 files are read", self.problems()[-1])

    def test_no_problem_repeats_what_may_be_a_private_key(self) -> None:
        path = self.directory / "private"
        Identity.new(path)
        content = path.read_bytes()
        for text in (content.hex(), b64encode(content).decode(), f"-----BEGIN PRIVATE KEY-----\n{content.hex()}"):
            path.write_text(text)
            said = " ".join(self.problems())
            self.assertIn("begins with 'ed25519'", said)
            self.assertNotIn(text.split("\n")[-1][:16], said)

    @given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
    def test_no_file_is_fatal(self, content: bytes) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        (directory / "f").write_bytes(content)
        (directory / "g").write_text(line(self.a))
        self.assertEqual(len(read_keys(directory).grants), 1)


class LookingTests(SynchronousTestCase):
    """The directory over time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.reading: list[tuple[Deferred[Any], Any, tuple[Any, ...]]] = []
        self.grants = Grants(self.clock, self.in_thread, self.directory)
        self.me = Identity.create()
        (self.directory / "me").write_text(line(self.me))

    def in_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.reading.append((done, function, arguments))
        return done

    def read(self) -> None:
        for done, function, arguments in self.reading:
            try:
                done.callback(function(*arguments))
            except OSError:
                done.errback()
        self.reading = []

    def start(self) -> None:
        self.grants.load()
        self.grants.startService()
        self.addCleanup(self.grants.stopService)

    def test_a_directory_that_is_not_there_is_refused_at_the_start(self) -> None:
        with self.assertRaises(Refused) as caught:
            Grants(self.clock, self.in_thread, self.directory / "missing").load()
        self.assertIn("no such file or directory", str(caught.exception))

    def test_one_that_goes_later_takes_its_keys_along(self) -> None:
        self.start()
        (self.directory / "me").unlink()
        self.directory.rmdir()
        self.clock.advance(LOOK)
        self.read()
        self.assertFalse(self.grants.authorizes(self.me.key))

    def test_reading_is_never_asked_for_twice_at_once(self) -> None:
        self.start()
        self.clock.pump([LOOK] * 20)
        self.assertEqual(len(self.reading), 1)
        self.assertGreater(20 * LOOK, SLOW)
        self.read()
        self.clock.advance(LOOK)
        self.assertEqual(len(self.reading), 1)

    def test_what_cannot_be_read_at_the_moment_goes_on_as_it_was(self) -> None:
        self.start()
        self.clock.advance(LOOK)
        self.reading.pop()[0].errback(OSError(24, "Too many open files"))
        self.assertTrue(self.grants.authorizes(self.me.key))
        self.clock.advance(LOOK)
        self.assertEqual(len(self.reading), 1)

    def test_what_is_read_after_the_end_is_nothing(self) -> None:
        self.grants.load()
        self.grants.startService()
        self.clock.advance(LOOK)
        (self.directory / "me").unlink()
        self.grants.stopService()
        self.read()
        self.assertTrue(self.grants.authorizes(self.me.key))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class GuestCase(SynchronousTestCase):
    private = False

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.network = KeyedNetwork(directory, private=self.private)
        self.me = Identity.create()

    def rows(self, secret: Secret | None = SECRET) -> list[dict[str, Any]]:
        peer = self.network.session("read", secret=secret)
        found: list[dict[str, Any]] = self.network.answer(Deferred.fromCoroutine(list_rows(peer)))
        peer.transport.loseConnection()
        return found

    def refusal(self, kind: type[DeploydError], call: Any, *arguments: Any) -> str:
        with self.assertRaises(kind) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.exit_code, 4)
        return str(caught.exception)


class RegisteringGuestTests(GuestCase):
    def test_seaports_listen_with_keys_ignored_them_here_an_authorized_key_registers_and_no_other(self) -> None:
        self.network.authorize(self.me)
        self.network.publish(self.network.guest(self.me), MINE)
        (found,) = self.rows()
        self.assertEqual((found["id"], found["owner"]), ("w1", self.me.owner))
        stranger = Identity.create()
        said = self.refusal(SecretRefused, self.network.guest, stranger)
        self.assertIn("not authorized here", said)

    def test_seaports_authorized_did_not_exist_here_a_key_is_authorized_while_the_registry_runs(self) -> None:
        self.refusal(SecretRefused, self.network.guest, self.me)
        self.network.authorize(self.me)
        self.network.publish(self.network.guest(self.me), MINE)

    def test_its_rows_bear_the_name_of_its_line_whatever_it_says(self) -> None:
        self.network.authorize(self.me, name="build-7")
        self.network.publish(self.network.guest(self.me), MINE)
        self.assertEqual(self.rows()[0]["drone"], "build-7")

    def test_roles_and_namespaces_are_limited(self) -> None:
        self.network.authorize(self.me, roles="http,say", namespaces="dev,staging")
        peer = self.network.guest(self.me)
        self.network.publish(peer, MINE, evolve(MINE, id="w2", role="say", namespace="staging"))
        for wrong, why in ((evolve(MINE, role="admin"), "'admin'"), (evolve(MINE, namespace="prod"), "'prod'")):
            self.assertIn(why, self.refusal(PermissionRefused, self.network.publish, peer, MINE, wrong))
            update = peer.call(Update, put=(wrong,), free=())
            self.assertIn(why, self.refusal(PermissionRefused, self.network.answer, update))
        self.assertEqual([found["id"] for found in self.rows()], ["w1", "w2"])

    def test_a_star_opens_all_but_what_drones_run(self) -> None:
        self.network.authorize(self.me, roles="*", namespaces="*")
        for credential in (b"", drone_credential(SECRET, self.me.owner)):
            peer = self.network.guest(self.me, credential)
            self.network.publish(peer, evolve(MINE, role="any", namespace="where"))
            for wrong in (row("c", namespace=COMMIT), evolve(MINE, app="webapp"), evolve(MINE, id="http-0123456789")):
                self.refusal(PermissionRefused, self.network.publish, peer, wrong)

    def test_who_knows_the_secret_is_no_guest(self) -> None:
        self.network.authorize(self.me)
        peer = self.network.guest(self.me, drone_credential(SECRET, self.me.owner), SECRET)
        self.network.publish(peer, row("c", namespace=COMMIT), evolve(MINE, role="admin"))
        (self.network.directory / "ci").unlink()
        self.network.look()
        self.assertFalse(peer.is_closed)
        self.assertEqual(len(self.rows()), 2)

    def test_nobody_elses_rows_are_touched(self) -> None:
        other = self.network.guest(Identity.create(), secret=SECRET)
        self.network.publish(other, MINE)
        self.network.authorize(self.me)
        peer = self.network.guest(self.me)
        self.refusal(DeploydError, self.network.publish, peer, MINE)
        self.network.publish(peer)
        self.refusal(DeploydError, self.network.answer, peer.call(Update, put=(), free=("w1",)))
        self.assertEqual(len(self.rows()), 1)

    def test_what_stood_before_is_never_only_confirmed(self) -> None:
        """It may be from a time when the line said more, or when the owner knew the secret."""
        owner = self.network.guest(self.me, drone_credential(SECRET, self.me.owner), SECRET)
        revision = self.network.publish(owner, row("c", namespace=COMMIT))["revision"]
        self.network.authorize(self.me)
        peer = self.network.guest(self.me)
        with self.assertRaises(Refused):
            self.network.answer(peer.call(Confirm, stands=revision))
        self.network.publish(peer)
        self.assertEqual(self.rows(), [])
        other = Identity.create()
        self.network.authorize(other, "other")
        revision = self.network.publish(self.network.guest(other), MINE)["revision"]
        self.network.authorize(other, "other", roles="say")
        with self.assertRaises(Refused):
            self.network.answer(self.network.guest(other).call(Confirm, stands=revision))

    def test_a_key_that_is_removed_loses_its_session_and_its_rows_at_once(self) -> None:
        path = self.network.authorize(self.me)
        peer = self.network.guest(self.me)
        self.network.publish(peer, MINE)
        path.unlink()
        self.network.look()
        self.assertTrue(peer.is_closed)
        self.assertEqual(self.rows(), [])
        self.refusal(SecretRefused, self.network.guest, self.me)

    def test_a_key_that_is_removed_while_away_does_not_come_back_and_its_rows_fall(self) -> None:
        path = self.network.authorize(self.me)
        peer = self.network.guest(self.me)
        self.network.publish(peer, MINE)
        self.network.cut()
        path.unlink()
        self.network.look()
        self.refusal(SecretRefused, self.network.guest, self.me)
        self.network.advance(TIMEOUT)
        self.assertEqual(self.rows(), [])

    def test_a_line_that_changes_ends_the_session_and_its_rows_stand_until_it_publishes_again(self) -> None:
        self.network.authorize(self.me)
        peer = self.network.guest(self.me)
        self.network.publish(peer, MINE)
        self.network.authorize(self.me, roles="say")
        self.assertTrue(peer.is_closed)
        self.assertEqual([(found["id"], found["marked"]) for found in self.rows()], [("w1", True)])
        peer = self.network.guest(self.me)
        self.refusal(PermissionRefused, self.network.publish, peer, MINE)
        self.network.publish(peer, evolve(MINE, role="say"))
        self.assertEqual([(found["role"], found["marked"]) for found in self.rows()], [("say", False)])

    def test_another_key_coming_or_going_disturbs_nobody(self) -> None:
        self.network.authorize(self.me)
        peer = self.network.guest(self.me)
        self.network.publish(peer, MINE)
        path = self.network.authorize(Identity.create(), name="other")
        path.unlink()
        self.network.look()
        self.assertFalse(peer.is_closed)

    def test_a_session_that_is_over_is_forgotten(self) -> None:
        path = self.network.authorize(self.me)
        self.network.publish(self.network.guest(self.me), MINE)
        self.network.answer(self.network.guest(self.me).call(Leave))
        self.network.cut()
        self.assertEqual(self.network.grants._stays, {})
        path.unlink()
        self.network.look()

    def test_a_line_taken_away_between_handshake_and_attach_counts(self) -> None:
        path = self.network.authorize(self.me)
        peer = self.network.session("register", self.me)
        path.unlink()
        self.network.look()
        attach = peer.call(Attach, name="", credential=b"", advertise="")
        self.network.flush()
        self.failureResultOf(attach, PermissionRefused, Unreachable)


class ReadingTests(GuestCase):
    def test_reading_needs_nothing(self) -> None:
        self.assertEqual(self.rows(None), [])


class PrivateReadingTests(GuestCase):
    private = True

    def read(self, identity: Identity | None, secret: Secret | None = None) -> Any:
        peer = self.network.session("read", identity, secret)
        self.assertEqual(self.network.answer(Deferred.fromCoroutine(list_rows(peer))), [])
        return peer

    def test_reading_needs_the_secret_or_an_authorized_key(self) -> None:
        self.assertIn("neither was given", self.refusal(SecretRefused, self.read, None))
        self.assertIn("not authorized here", self.refusal(SecretRefused, self.read, self.me))
        self.assertIn("the secret is wrong", self.refusal(SecretRefused, self.read, None, Secret("wrong")))
        self.network.authorize(self.me)
        self.read(self.me)
        self.read(None, SECRET)
        self.read(Identity.create(), SECRET)

    def test_a_key_that_is_removed_reads_no_more(self) -> None:
        path = self.network.authorize(self.me)
        guest, other = self.read(self.me), self.read(self.me, SECRET)
        path.unlink()
        self.network.look()
        self.assertEqual((guest.is_closed, other.is_closed), (True, False))
        self.refusal(SecretRefused, self.read, self.me)

    def test_a_registry_without_a_secret_is_for_its_keys_alone(self) -> None:
        self.network.secret = None
        self.network.restart()
        self.refusal(SecretRefused, self.read, self.me)
        self.network.authorize(self.me)
        self.read(self.me)
        credential = drone_credential(None, self.me.owner)
        peer = self.network.guest(self.me, credential)
        self.network.publish(peer, MINE)
        self.refusal(PermissionRefused, self.network.publish, peer, row("c", namespace=COMMIT))
