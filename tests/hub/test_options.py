"""The hub's command line."""

from __future__ import annotations

from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.limits import GitLimits
from deployd.hub.tap import Options


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(["--secret", "x", *arguments])
    return options


class OptionsTests(SynchronousTestCase):
    def test_ports_are_those_of_the_reference(self) -> None:
        options = parsed()
        self.assertEqual((options.amp_port, options.git_port, options["registry"]), (6001, 6002, "127.0.0.1:6000"))
        self.assertEqual(parsed("--port", "7000").git_port, 7001)
        self.assertEqual(parsed("--port", "0").git_port, 0)
        self.assertEqual(parsed("--port", "7000", "--git-port", "80").git_port, 80)

    def test_the_key_of_configs_is_in_the_state_directory_unless_it_is_told_where(self) -> None:
        self.assertEqual(parsed("--state-dir", "/s").config_key, Path("/s/config.key"))
        self.assertEqual(parsed("--config-key", "key").config_key, Path("key").absolute())

    def test_listens_where_it_is_told(self) -> None:
        self.assertEqual(parsed("--interface", "127.0.0.1").git_listener(), r"tcp:6002:interface=127.0.0.1")
        tls = parsed("--git-listen", "ssl:6443:privateKey=k:certKey=c")
        self.assertEqual((tls.git_listener(), tls.scheme), ("ssl:6443:privateKey=k:certKey=c", "https"))
        self.assertEqual(parsed().scheme, "http")

    def test_bounds_on_git_are_set_one_by_one(self) -> None:
        limits = parsed("--git-limit", "pack-bytes=2G", "--git-limit", "refs=500").git_limits
        self.assertEqual((limits.pack_bytes, limits.refs, limits.objects), (2 << 30, 500, GitLimits().objects))
        self.assertEqual(parsed().git_limits, GitLimits())

    def test_nonsense_is_refused_in_one_sentence(self) -> None:
        for wrong in (
            ("--port", "x"),
            ("--port", "70000"),
            ("--port", "65535"),
            ("--port", "5", "--git-port", "5"),
            ("--git-port", "-1"),
            ("--registry", ""),
            ("--config-key", ""),
            ("--advertise", "not a host"),
            ("--git-limit", "pack-bytes"),
            ("--git-limit", "pack-bytes=0"),
            ("--git-limit", "pack-bytes=2 G"),
            ("--git-limit", "pack_bytes=2"),
            ("--git-limit", "=2"),
        ):
            with self.assertRaises(UsageError) as caught:
                parsed(*wrong)
            self.assertNotIn("\n", str(caught.exception))
