"""The command line of `twistd deployd-router`."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from deployd.router.lean import needs_tls
from deployd.router.options import RouterOptions


def parsed(*arguments: str) -> RouterOptions:
    options = RouterOptions()
    options.parseOptions(["--hub", "localhost:6001", *arguments])
    return options


class OptionsTests(SynchronousTestCase):
    def refused(self, sentence: str, *arguments: str) -> None:
        with self.assertRaisesRegex(UsageError, sentence):
            parsed(*arguments)

    def test_the_defaults_are_those_of_the_contract(self) -> None:
        options = parsed()
        self.assertEqual((options.http_port, options.https_port, options.admin_port), (8080, None, None))
        self.assertEqual((options.workers, options["name"], options["registry"]), (1, socket.gethostname(), ""))
        self.assertEqual((options.trusted, options["access-log"]), ((), None))

    def test_needs_a_hub(self) -> None:
        with self.assertRaisesRegex(UsageError, "--hub HOST:PORT is missing"):
            RouterOptions().parseOptions([])

    def test_refuses_addresses_and_names_that_can_be_none(self) -> None:
        self.refused("not an address", "--hub", "a b:6001")
        self.refused("not an address", "--registry", "a b:6000")
        self.refused("an empty address", "--registry", "r:6000,,s:6000")
        self.refused("not a router name", "--name", "a b")

    def test_has_no_amp_port(self) -> None:
        self.refused("--listen is for AMP ports, and a router has none", "--listen", "tcp:1")

    def test_https_needs_certificates_and_the_other_way_round(self) -> None:
        self.refused("go together", "--https-port", "8443")
        self.refused("go together", "--certs", ".")
        self.refused("is not a directory", "--certs", "missing", "--https-port", "8443")
        certs = Path(self.mktemp())
        certs.mkdir()
        options = parsed("--certs", str(certs), "--https-port", "8443")
        self.assertEqual((options.certs, options.https_port), (certs.absolute(), 8443))

    def test_ports_differ_but_several_may_be_chosen_by_the_kernel(self) -> None:
        self.refused("different ports", "--port", "8080", "--admin-port", "8080")
        self.refused("is a port number", "--admin-port", "x")
        self.assertEqual(parsed("--port", "0", "--admin-port", "0").admin_port, 0)

    def test_workers_are_counted(self) -> None:
        for text in ("0", "x", "-1", "65", "1" * 5000):
            self.refused("is a number from 1 to 64", "--workers", text)
        self.assertEqual(parsed("--workers", "64").workers, 64)

    def test_takes_networks_to_trust(self) -> None:
        self.assertEqual(
            parsed("--trust", "10.0.0.0/8, 127.0.0.1,::1").trusted,
            (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("::1/128")),
        )
        self.refused("are not networks", "--trust", "everybody")

    def test_an_access_log_is_a_file_or_stdout(self) -> None:
        self.refused("--access-log is empty", "--access-log", "")
        self.assertEqual(parsed("--access-log", "-")["access-log"], "-")
        self.assertEqual(parsed("--access-log", "a.log")["access-log"], str(Path("a.log").absolute()))

    def test_only_a_router_that_meets_no_tls_leaves_it_out(self) -> None:
        plain = ["--hub", "h:6001", "--registry", "r:6000"]
        self.assertFalse(needs_tls(plain))
        self.assertTrue(needs_tls(plain[:2]))
        self.assertTrue(needs_tls([*plain, "--certs=d"]))
        self.assertTrue(needs_tls(["--hub", "tls:h:6001:trustRoots=d", "--registry", "r:6000"]))
