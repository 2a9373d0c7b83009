"""The command line of `twistd deployd-drone`."""

from __future__ import annotations

import socket

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.options import DroneOptions
from deployd.model.drone import DroneDescription


def parsed(*arguments: str) -> DroneOptions:
    options = DroneOptions()
    options.parseOptions(["--hub", "localhost:6001", *arguments])
    return options


class OptionsTests(SynchronousTestCase):
    def refused(self, sentence: str, *arguments: str) -> None:
        with self.assertRaisesRegex(UsageError, sentence):
            parsed(*arguments)

    def test_takes_a_command_with_options_of_its_own(self) -> None:
        options = parsed("--role", "say", "--name", "d1", "--", "python3", "say.py", "--hub", "x")
        self.assertEqual(
            options.described("owner"),
            DroneDescription("d1", "owner", command=("python3", "say.py", "--hub", "x"), role="say"),
        )

    def test_a_command_plays_http_and_the_drone_has_the_name_of_its_machine(self) -> None:
        described = parsed("--", "node", "web.js").described("owner")
        self.assertEqual((described.role, described.name), ("http", socket.gethostname()))

    def test_takes_labels_apps_and_roles(self) -> None:
        described = parsed(
            "--name",
            "d1",
            "--label",
            "region=eu",
            "--label=disk=ssd",
            "--app",
            "webapp",
            "--app",
            "team/x",
            "--roles",
            "http, say,http",
        ).described("owner")
        self.assertEqual(described.labels, {"region": "eu", "disk": "ssd"})
        self.assertEqual((described.apps, described.roles), (("webapp", "team/x"), ("http", "say")))

    def test_the_defaults_are_those_of_the_contract(self) -> None:
        parsed("--hub", "tls:hub.example:6001:trustRoots=/etc/ca")
        parsed("--hub", "hub.example")
        options = parsed()
        self.assertEqual((options.ports, options["on-stop"], options["registry"]), ((20000, 29999), "stop", ""))

    def test_amounts_of_disk_have_units(self) -> None:
        options = parsed("--disk-reserve", "2G", "--cache-budget", "0")
        self.assertEqual((options.disk_reserve, options.cache_budget), (2 << 30, 0))
        self.assertEqual((parsed().disk_reserve, parsed().cache_budget), (None, 5 << 30))
        self.assertEqual(parsed().log_budgets, (64 << 20, 1 << 30))
        self.assertEqual(parsed("--app-log-budget", "1M", "--log-budget", "2M").log_budgets, (1 << 20, 2 << 20))
        for name in ("disk-reserve", "cache-budget", "log-budget", "app-log-budget"):
            self.refused(f"--{name}: '1.5x' is not a number of bytes", f"--{name}", "1.5x")

    def test_there_is_always_room_for_the_last_lines(self) -> None:
        for name in ("log-budget", "app-log-budget"):
            self.refused(f"--{name} is at least 1M, not '1023K'", f"--{name}", "1023K")

    def test_users_of_apps_are_a_range(self) -> None:
        self.assertEqual(parsed("--app-users", "60000-60999").app_users, (60000, 60999))
        self.assertIsNone(parsed().app_users)
        for text in ("0-10", "10", "20-10", "a-b", "-1-5", "1-2147483648"):
            self.refused("--app-users is FIRST-LAST", f"--app-users={text}")

    def test_groups_are_looked_for_or_named(self) -> None:
        self.assertEqual(parsed()["cgroup"], "auto")
        self.assertEqual(parsed("--cgroup", "/sys/fs/cgroup/apps")["cgroup"], "/sys/fs/cgroup/apps")
        self.refused("--cgroup is auto, none or a directory", "--cgroup", "v2")

    def test_needs_a_hub(self) -> None:
        with self.assertRaisesRegex(UsageError, "--hub HOST:PORT is missing"):
            DroneOptions().parseOptions([])

    def test_refuses_what_cannot_be_with_a_sentence(self) -> None:
        self.refused("is not a label", "--label", "region")
        self.refused("is not an app name", "--app", "../../x")
        self.refused("is not a drone name", "--name", "a b")
        self.refused("--on-stop is stop or keep", "--on-stop", "kill")
        self.refused("--registry: 'a b' is not an address", "--registry", "a b")
        self.refused("--registry: 'a b' is not an address", "--registry", "r:6000,a b")
        self.refused("has an empty address in it", "--registry", "r:6000,")
        self.refused("--hub: 'a b:6001' is not an address", "--hub", "a b:6001")
        self.refused("is not a host", "--advertise", "a b")
        for text in ("20000", "0-10", "30000-20000", "1-65536", "a-b", "-1-5"):
            self.refused("--port-range is FIRST-LAST", f"--port-range={text}")
        self.refused("give one after --", "--role", "say")
        self.refused("is not a role", "--role", "a b", "--", "x")
        self.refused("runs once per release", "--role", "release", "--", "x")
        self.refused("does not read", "--roles", "http", "--", "x")
        self.refused("is not a role", "--roles", "http,")
        self.refused("COMMAND is not UTF-8", "--", "serve", "caf\udce9")
        self.refused("the secret is empty", "--secret", "")
