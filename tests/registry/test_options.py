"""The registry's command line."""

from __future__ import annotations

from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from deployd.registry.tap import Options


class OptionsTests(SynchronousTestCase):
    def parsed(self, *words: str) -> Options:
        options = Options()
        options.parseOptions(["--secret", "x", *words])
        return options

    def test_the_defaults(self) -> None:
        options = self.parsed()
        self.assertEqual((options.amp_port, options.http_port), (6000, 6080))
        self.assertEqual((options.heartbeat, options.timeout), (15, 45))
        self.assertEqual((options.amp_listener(6000), options.http_listener()), ("tcp:6000", "tcp:6080"))

    def test_a_free_amp_port_means_a_free_http_port(self) -> None:
        self.assertEqual(self.parsed("--port", "0").http_port, 0)
        self.assertEqual(self.parsed("--port", "0", "--http-port", "7000").http_port, 7000)

    def test_http_listens_where_amp_does_unless_told_otherwise(self) -> None:
        options = self.parsed("--interface", "127.0.0.1")
        self.assertEqual(options.http_listener(), r"tcp:6080:interface=127.0.0.1")
        options = self.parsed("--interface", "127.0.0.1", "--http-interface", "::1")
        self.assertEqual(options.http_listener(), r"tcp:6080:interface=\:\:1")
        options = self.parsed("--http-listen", "unix:/run/http", "--http-port", "1")
        self.assertEqual((options.http_listener(), options.scheme), ("unix:/run/http", "http"))
        self.assertEqual(self.parsed("--http-listen", "ssl:6080:privateKey=k").scheme, "https")

    def test_without_a_secret_both_ports_are_on_loopback(self) -> None:
        options = Options()
        options.parseOptions(["--state-dir", "x"])
        self.assertEqual(options.http_listener(), "tcp:6080:interface=127.0.0.1")

    def test_what_cannot_be_is_a_usage_error(self) -> None:
        for words in (
            ("--port", "x"),
            ("--port", "65536"),
            ("--http-port", "-1"),
            ("--timeout", "0"),
            ("--timeout", "nan"),
            ("--heartbeat", "45"),
            ("--advertise", "a b"),
            ("--nonsense", "1"),
        ):
            with self.assertRaises(UsageError):
                self.parsed(*words)


class KeyOptionsTests(SynchronousTestCase):
    def parsed(self, *words: str) -> Options:
        options = Options()
        options.parseOptions([*words])
        return options

    def refusal(self, *words: str) -> str:
        with self.assertRaises(UsageError) as caught:
            self.parsed(*words)
        return str(caught.exception)

    def test_reading_is_closed_by_a_secret_or_by_keys_and_never_by_nothing(self) -> None:
        self.assertTrue(self.parsed("--private", "--secret", "x")["private"])
        self.assertTrue(self.parsed("--private", "--authorized-keys", "keys")["private"])
        self.assertIn("--private needs a secret or --authorized-keys", self.refusal("--private"))

    def test_a_registry_with_authorized_keys_is_not_open_to_all_for_want_of_a_secret(self) -> None:
        self.assertTrue(self.parsed().is_open)
        self.assertFalse(self.parsed("--secret", "x").is_open)
        self.assertFalse(self.parsed("--authorized-keys", "keys").is_open)
        self.assertEqual(self.parsed("--authorized-keys", "keys").authorized_keys, Path("keys").absolute())

    def test_an_empty_directory_name_is_a_mistake(self) -> None:
        self.assertIn("--authorized-keys is empty", self.refusal("--authorized-keys", "", "--secret", "x"))

    def test_names_in_the_dns_are_for_everybody_and_so_not_for_a_private_registry(self) -> None:
        for port in ("0", "53"):
            words = ("--secret", "x", "--private", "--dns-port", port)
            self.assertIn("add --dns-public", self.refusal(*words))
            self.parsed(*words, "--dns-public")

    def test_dns_is_answered_only_where_asked_for(self) -> None:
        self.assertIsNone(self.parsed().dns_port)
        self.assertEqual(self.parsed("--dns-port", "0").dns_port, 0)
        with self.assertRaises(UsageError):
            self.parsed("--dns-port", "")
