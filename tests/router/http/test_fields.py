"""What an app is told about who asks."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.address import IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from deployd.router.http.fields import CLAIMS, DROP, IN_REQUEST, Origin
from deployd.router.http.settings import ProxySettings
from tests.router.http.rig import Rig

ID = b"0" * 32


class OriginTests(SynchronousTestCase):
    def test_an_ipv6_address_is_in_brackets_and_quotes_where_it_has_to_be(self) -> None:
        lines, _ = Origin("2001:db8::1", True, False).lines(b"a", (), ID)
        self.assertIn(b"X-Forwarded-For: 2001:db8::1\r\n", lines)
        self.assertIn(b'Forwarded: for="[2001:db8::1]";proto=https;host="a"\r\n', lines)

    def test_claims_of_a_stranger_change_nothing(self) -> None:
        stranger = Origin("192.0.2.1", False, False)
        claims = tuple((name, b"x") for name in CLAIMS)
        self.assertEqual(stranger.lines(b"a", claims, ID), stranger.lines(b"a", (), ID))

    def test_a_trusted_proxys_strange_request_id_is_replaced(self) -> None:
        trusted = Origin("192.0.2.1", False, True)
        for given, kept in ((b"abc-1", True), (b"a b", False), (b"x" * 129, False), (b"", False)):
            lines, request_id = trusted.lines(b"a", ((b"x-request-id", given),), ID)
            self.assertEqual(request_id, given if kept else ID)
            self.assertIn(b"X-Request-Id: " + request_id + b"\r\n", lines)

    def test_other_spellings_of_claims_are_dropped(self) -> None:
        for name in (b"x_forwarded_for", b"x-forwarded_for", b"x_request-id", b"content_length", b"x_deployd_commit"):
            self.assertEqual(IN_REQUEST[name], DROP)


class TrustTests(SynchronousTestCase):
    def test_networks_are_trusted_in_either_form_of_an_address(self) -> None:
        settings = ProxySettings(trusted=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
        for address, trusted in (
            ("10.1.2.3", True),
            ("::ffff:10.1.2.3", True),
            ("fd00::1", True),
            ("fd00::1%eth0", True),
            ("11.1.2.3", False),
            ("fe80::1", False),
            ("unknown", False),
        ):
            self.assertEqual(settings.trusts(address), trusted, address)
        self.assertFalse(ProxySettings().trusts("127.0.0.1"))

    def test_an_ipv4_client_of_an_ipv6_port_is_named_as_such(self) -> None:
        client = Rig().factory.buildProtocol(IPv6Address("TCP", "::ffff:192.0.2.1", 1))
        assert client is not None
        self.assertEqual(client.address, "192.0.2.1")
