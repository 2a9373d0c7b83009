"""Global options and their environment."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.running import needs_tls
from deployd.cli.settings import Settings
from deployd.errors import UsageError
from deployd.model.grant import key_text
from deployd.net.identity import Identity


class SettingsTests(SynchronousTestCase):
    def test_without_anything_the_hub_is_on_this_machine_and_there_is_no_secret(self) -> None:
        self.assertEqual(Settings.read({}, {}), Settings("localhost:6001", None, None, False, None))

    def test_options_win_over_the_environment(self) -> None:
        environ = {"DEPLOYD_HUB": "a:1", "DEPLOYD_REGISTRY": "b:1", "DEPLOYD_SECRET": "x"}
        settings = Settings.read({"hub": "c:1", "secret": "y"}, environ)
        self.assertEqual((settings.hub, settings.registry), ("c:1", "b:1"))
        assert settings.secret is not None
        self.assertTrue(settings.secret.matches(b"y"))

    def test_a_secret_that_looks_like_a_number_is_text(self) -> None:
        secret = Settings.read({"secret": "0123"}, {}).secret
        assert secret is not None
        self.assertTrue(secret.matches(b"0123"))
        self.assertFalse(secret.matches(b"123"))

    def test_an_empty_secret_is_refused_wherever_it_comes_from(self) -> None:
        empty = Path(self.mktemp())
        empty.write_text("\n")
        for given, environ in (
            ({"secret": ""}, {}),
            ({}, {"DEPLOYD_SECRET": ""}),
            ({"secret_file": str(empty)}, {"DEPLOYD_SECRET": "x"}),
        ):
            with self.assertRaises(UsageError):
                Settings.read(given, environ)

    def test_a_secret_and_a_file_with_one_contradict_each_other(self) -> None:
        with self.assertRaises(UsageError):
            Settings.read({"secret": "a", "secret_file": "f"}, {})

    def test_a_secret_file_that_cannot_be_read_is_named(self) -> None:
        with self.assertRaises(UsageError) as raised:
            Settings.read({"secret_file": "/nonexistent/secret"}, {})
        self.assertIn("/nonexistent/secret", str(raised.exception))

    def test_an_empty_address_is_refused_as_an_option_and_unset_as_a_variable(self) -> None:
        with self.assertRaises(UsageError):
            Settings.read({"hub": " "}, {})
        self.assertEqual(Settings.read({}, {"DEPLOYD_HUB": ""}).hub, "localhost:6001")

    def test_no_repr_shows_the_secret(self) -> None:
        self.assertNotIn("hunter2", repr(Settings.read({"secret": "hunter2"}, {})))

    def test_only_endpoint_strings_may_need_tls(self) -> None:
        for plain in ("hub", "hub:6001", "10.0.0.1:6001", "[::1]:6001", "tcp:hub:6001", "unix:/run/hub"):
            self.assertFalse(needs_tls(plain), plain)
        for other in ("tls:hub:6001", "ssl:hub:6001", "tls:hub:6001:trustRoots=/etc/ca", "plugin:x"):
            self.assertTrue(needs_tls(other), other)

    def test_a_key_is_the_one_in_the_file_that_is_named_and_none_is_made(self) -> None:
        """The ancestor's ``--key`` was sent along as metadata and signed nothing."""
        path = Path(self.mktemp())
        for settings in (Settings.read({"key": str(path)}, {}), Settings.read({}, {"DEPLOYD_KEY": str(path)})):
            with self.assertRaises(UsageError):
                settings.identity()
            self.assertFalse(path.exists())
        mine = Identity.new(path)
        found = Settings.read({"key": str(path)}, {"DEPLOYD_KEY": "other"}).identity()
        assert found is not None
        self.assertEqual(found.owner, mine.owner)
        self.assertIsNone(Settings.read({}, {"DEPLOYD_KEY": ""}).identity())
        with self.assertRaises(UsageError):
            Settings.read({"key": ""}, {})

    def test_the_registrys_key_is_as_its_log_has_it(self) -> None:
        text = key_text(bytes(32))
        self.assertEqual(Settings.read({"registry_key": text}, {}).registry_keys, (bytes(32),))
        self.assertEqual(Settings.read({}, {"DEPLOYD_REGISTRY_KEY": text}).registry_keys, (bytes(32),))
        self.assertEqual(Settings.read({}, {"DEPLOYD_REGISTRY_KEY": ""}).registry_keys, ())
        several = f"{text},{key_text(b'x' * 32)}"
        self.assertEqual(len(Settings.read({"registry_key": several}, {}).registry_keys), 2)
        for wrong in ("", "x", text[:-1]):
            with self.assertRaises(UsageError):
                Settings.read({"registry_key": wrong}, {})
