"""The options that all daemons share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.options import DaemonOptions, default_state_dir
from deployd.net.secret import Secret


class Options(DaemonOptions):
    kind = "test"
    optParameters = [["port", None, "6000", "A port."], ["timeout", None, "45", "Seconds."]]


def parsed(*arguments: str) -> Any:
    options = Options()
    options.parseOptions(["--state-dir", "s", *arguments])
    return options


class DaemonOptionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        before = dict(os.environ)
        os.environ.pop("DEPLOYD_SECRET", None)
        self.addCleanup(os.environ.update, before)
        self.addCleanup(os.environ.pop, "DEPLOYD_SECRET", None)

    def matches(self, secret: Secret | None, text: str) -> bool:
        return secret is not None and secret.matches(text.encode())

    def test_without_a_secret_it_listens_on_loopback_only(self) -> None:
        self.assertIsNone(parsed().secret)
        self.assertEqual(parsed().interface, "127.0.0.1")
        self.assertEqual(parsed("--secret", "s").interface, "")
        self.assertEqual(parsed("--interface", "10.0.0.1").interface, "10.0.0.1")

    def test_the_secret_comes_from_option_file_or_environment(self) -> None:
        path = Path(self.mktemp())
        path.write_text("from: a /file%\nsecond line\n")
        self.assertTrue(self.matches(parsed("--secret", "1234").secret, "1234"))
        self.assertTrue(self.matches(parsed("--secret-file", str(path)).secret, "from: a /file%"))
        os.environ["DEPLOYD_SECRET"] = "ключ"
        self.assertTrue(self.matches(parsed().secret, "ключ"))

    def test_an_empty_secret_is_a_usage_error_and_never_open(self) -> None:
        empty = Path(self.mktemp())
        empty.write_text("\n")
        for arguments in (("--secret", ""), ("--secret-file", str(empty)), ("--secret", "a", "--secret-file", "b")):
            self.assertRaises(UsageError, parsed, *arguments)
        os.environ["DEPLOYD_SECRET"] = ""
        self.assertRaises(UsageError, parsed)

    def test_a_secret_file_that_cannot_be_read_is_a_usage_error_with_its_name(self) -> None:
        error = self.assertRaises(UsageError, parsed, "--secret-file", "/no/such/file")
        self.assertIn("/no/such/file", str(error))

    def test_a_secret_file_may_begin_with_a_byte_order_mark(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"\xef\xbb\xbfsecret\n")
        self.assertTrue(self.matches(parsed("--secret-file", str(path)).secret, "secret"))

    def test_an_empty_state_directory_is_a_usage_error(self) -> None:
        self.assertRaises(UsageError, parsed, "--state-dir", "")

    def test_numbers_are_checked(self) -> None:
        self.assertEqual(parsed("--port", "0").port("port"), 0)
        self.assertEqual(parsed("--timeout", "0.5").seconds("timeout"), 0.5)
        for text in ("", "x", "-1", "65536", "1.5"):
            self.assertRaises(UsageError, parsed(f"--port={text}").port, "port")
        for text in ("", "0", "-1", "nan", "inf"):
            self.assertRaises(UsageError, parsed(f"--timeout={text}").seconds, "timeout")

    def test_the_log_format_is_text_or_json(self) -> None:
        parsed("--log-format", "json")
        self.assertRaises(UsageError, parsed, "--log-format", "xml")

    def test_listen_replaces_the_port(self) -> None:
        self.assertEqual(parsed("--listen", "unix:/x").amp_listener(6000), "unix:/x")
        self.assertEqual(parsed("--secret", "s").amp_listener(6000), "tcp:6000")
        self.assertEqual(parsed("--interface", "::1").amp_listener(6000), "tcp:6000:interface=\\:\\:1")

    def test_state_has_a_place_of_its_own_for_each_kind(self) -> None:
        self.assertEqual(default_state_dir("hub").name, "hub")
        self.assertNotEqual(default_state_dir("hub"), default_state_dir("drone"))
