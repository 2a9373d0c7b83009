"""ADDRESS arguments: the host in one, and whom its TLS trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import UsageError
from deployd.net.addresses import host_of, roots_of
from tests.integration.certificates import Authority


class HostTests(SynchronousTestCase):
    def test_every_way_to_write_an_address_has_its_host(self) -> None:
        for address, host in {
            "hub": "hub",
            "hub.example:6001": "hub.example",
            "[::1]:6001": "::1",
            "tls:hub.example:6001": "hub.example",
            "tls:hub.example:6001:trustRoots=/etc/ca": "hub.example",
            r"tls:\:\:1:6001:trustRoots=/etc/ca": "::1",
            "tcp:10.0.0.1:6001": "10.0.0.1",
            "unix:/run/hub": "",
            "tls:x:host=y": "",
            "": "",
        }.items():
            self.assertEqual(host_of(address), host, address)


class RootsTests(SynchronousTestCase):
    def test_only_the_authorities_in_the_directory_are_trusted(self) -> None:
        authority = Authority(Path(self.mktemp()))
        roots = roots_of(f"tls:hub:6001:trustRoots={authority.roots}")
        assert roots is not None
        self.assertEqual(len(ssl.create_default_context(cadata=roots).get_ca_certs()), 1)

    def test_an_empty_directory_trusts_nobody(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.assertEqual(roots_of(f"tls:hub:6001:trustRoots={directory}"), "")

    def test_a_path_may_have_colons(self) -> None:
        authority = Authority(Path(self.mktemp()) / "a:b")
        self.assertTrue(roots_of("tls:hub:6001:trustRoots=" + str(authority.roots).replace(":", r"\:")))

    def test_without_roots_it_is_the_systems(self) -> None:
        self.assertIsNone(roots_of("tls:hub:6001"))
        self.assertIsNone(roots_of("hub:6001"))

    def test_what_is_no_certificate_is_a_usage_error(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "ca.pem").write_text("nonsense")
        self.assertIn(str(directory), str(self.assertRaises(UsageError, roots_of, f"tls:h:1:trustRoots={directory}")))
