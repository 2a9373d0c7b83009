"""The registry's command line."""

from __future__ import annotations

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
        self.assertEqual(options.http_listener(), "unix:/run/http")

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
