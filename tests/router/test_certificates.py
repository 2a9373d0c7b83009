"""Certificates by name, read anew when files change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.router.certificates import LOOK, Certificates, Looking
from tests.integration.certificates import Authority


class CertificatesTests(SynchronousTestCase):
    def setUp(self) -> None:
        place = Path(self.mktemp())
        self.authority = Authority(place / "authority")
        self.directory = place / "certs"
        self.directory.mkdir()
        self.certificates = Certificates(self.directory)

    def put(self, stem: str, *hosts: str) -> None:
        made = self.authority.certify(*hosts)
        self.write(f"{stem}.pem", made.certificate.read_bytes() + made.key.read_bytes())

    def write(self, name: str, text: bytes) -> None:
        """A file that is seen to have changed, however soon it does."""
        path = self.directory / name
        later = path.stat().st_mtime_ns + 1_000_000 if path.exists() else 0
        path.write_bytes(text)
        if later:
            os.utime(path, ns=(later, later))

    def served(self, name: str | None, offered: list[bytes] | None = None) -> tuple[str, bytes]:
        """What a client that asks for ``name`` gets: the certificate's first name, and the protocol."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if offered:
            context.set_alpn_protos(offered)
        client = SSL.Connection(context, None)
        client.set_connect_state()
        if name is not None:
            client.set_tlsext_host_name(name.encode())
        server = self.certificates.serverConnectionForTLS(None)
        server.set_accept_state()
        for _ in range(4):
            for end, other in ((client, server), (server, client)):
                _shake(end)
                _pass_on(end, other)
        certificate = client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.subject.rfc4514_string().removeprefix("CN="), client.get_alpn_proto_negotiated()

    def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for(self) -> None:
        self.put("a", "a.example")
        self.put("b", "b.example", "c.example")
        self.certificates.look()
        for name, expected in (("a.example", "a.example"), ("B.Example", "b.example"), ("c.example", "b.example")):
            self.assertEqual(self.served(name)[0], expected)

    def test_a_wildcard_serves_one_label_and_the_name_itself_goes_before_it(self) -> None:
        self.put("a", "first.example")
        self.put("wild", "*.shop.example")
        self.put("exact", "www.shop.example")
        self.certificates.look()
        self.assertEqual(self.served("x.shop.example")[0], "*.shop.example")
        self.assertEqual(self.served("www.shop.example")[0], "www.shop.example")
        self.assertEqual(self.served("x.y.shop.example")[0], "first.example")

    def test_who_asks_for_no_name_or_another_one_gets_the_default(self) -> None:
        self.put("b", "b.example")
        self.put("a", "a.example")
        self.certificates.look()
        self.assertEqual(self.served(None)[0], "a.example")
        self.put("default", "d.example")
        self.certificates.look()
        self.assertEqual(self.served("other.example")[0], "d.example")

    def test_speaks_http_1_1_and_leaves_others_without_a_protocol(self) -> None:
        self.put("a", "a.example")
        self.certificates.look()
        self.assertEqual(self.served("a.example", [b"h2", b"http/1.1"])[1], b"http/1.1")
        self.assertEqual(self.served("a.example", [b"h2"])[1], b"")

    def test_takes_a_chain_and_a_key_in_two_files(self) -> None:
        made = self.authority.certify("two.example")
        self.write("two.crt", made.certificate.read_bytes() + self.authority.pem.read_bytes())
        self.write("two.key", made.key.read_bytes())
        self.certificates.look()
        self.assertEqual(self.served("two.example")[0], "two.example")

    def test_a_changed_file_is_read_anew(self) -> None:
        self.put("a", "old.example")
        self.certificates.look()
        self.put("a", "new.example")
        self.certificates.look()
        self.assertEqual(self.served("new.example")[0], "new.example")

    def test_a_file_that_has_gone_is_served_no_more_unless_it_is_the_last(self) -> None:
        self.put("a", "a.example")
        self.put("b", "b.example")
        self.certificates.look()
        (self.directory / "a.pem").unlink()
        self.certificates.look()
        self.assertEqual(self.served("a.example")[0], "b.example")
        (self.directory / "b.pem").unlink()
        self.certificates.look()
        self.assertEqual(self.served("a.example")[0], "b.example")

    def test_a_broken_file_changes_nothing_and_is_told_of_once(self) -> None:
        self.put("a", "a.example")
        self.certificates.look()
        other = self.authority.certify("other.example")
        mine = self.authority.certify("a.example")
        for text in (
            b"garbage",
            b"",
            mine.certificate.read_bytes(),
            mine.key.read_bytes() + b"x" * 2_000_000,
            mine.certificate.read_bytes() + other.key.read_bytes(),
        ):
            self.write("a.pem", text)
            with capturedLogs() as said:
                self.certificates.look()
                self.certificates.look()
            self.assertEqual(len(said), 1)
            self.assertIn("a.pem is not used", formatEvent(said[0]))
            self.assertEqual(self.served("a.example")[0], "a.example")

    def test_a_directory_that_has_gone_is_told_of_once(self) -> None:
        self.put("a", "a.example")
        self.certificates.look()
        elsewhere = self.directory.rename(self.directory.with_name("elsewhere"))
        with capturedLogs() as said:
            self.certificates.look()
            self.certificates.look()
        self.assertEqual([event["path"] for event in said], [str(self.directory)])
        elsewhere.rename(self.directory)
        self.certificates.look()
        self.assertEqual(self.served("a.example")[0], "a.example")

    def test_without_any_certificate_there_is_one_sentence(self) -> None:
        with self.assertRaisesRegex(Refused, "there is no usable certificate in .*certs:"):
            self.certificates.look()
        self.write("a.pem", b"garbage")
        with self.assertRaisesRegex(Refused, "there is no usable certificate in .*certs:"):
            self.certificates.look()


class LookingTests(SynchronousTestCase):
    def test_looks_again_and_again_but_not_twice_at_once(self) -> None:
        clock, looks = Clock(), [Deferred(), succeed(None), fail(Refused("no certificate"))]
        asked = []

        def in_thread(function: Any) -> Deferred:
            asked.append(function)
            return looks[len(asked) - 1] if len(asked) <= len(looks) else succeed(None)

        looking = Looking(clock, in_thread, Certificates(Path()))
        looking.start()
        clock.pump([LOOK] * 3)
        self.assertEqual(len(asked), 1)
        looks[0].callback(None)
        clock.pump([LOOK] * 3)
        self.assertEqual(len(asked), 4)
        looking.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


def _shake(end: SSL.Connection) -> None:
    try:
        end.do_handshake()
    except SSL.WantReadError:
        return


def _pass_on(end: SSL.Connection, other: SSL.Connection) -> None:
    try:
        other.bio_write(end.bio_read(65536))
    except SSL.WantReadError:
        return
