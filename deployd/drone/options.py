"""The drone's command-line options."""

from __future__ import annotations

import socket

from twisted.python import usage

from deployd.daemon.options import DaemonOptions, check_address, check_addresses
from deployd.model.drone import DroneDescription
from deployd.model.invalid import Invalid
from deployd.model.names import app_name, drone_name, is_unicode, label, role_name
from deployd.model.registration import host_name
from deployd.model.sizes import byte_count
from deployd.processes import delegation

HUB_PORT = 6001
ON_STOP = ("stop", "keep")
LEAST_LOG = 1 << 20


class DroneOptions(DaemonOptions):
    """After parsing, ``ports`` is (first, last) and ``described`` makes the description."""

    kind = "drone"
    synopsis = "--hub HOST:PORT [options] [-- COMMAND ARG...]"
    longdesc = (
        "Runs every release of the cluster on this machine: COMMAND in each checkout, in role --role, "
        "or without one the roles of the checkout's Procfile."
    )

    optParameters = [
        ["hub", None, None, "The hub's AMP address: HOST:PORT or a Twisted client endpoint string."],
        ["name", None, None, "What the drone is called (default: the host name)."],
        ["registry", None, "", "The registry's AMP address, or several with commas (default: what the hub says)."],
        ["advertise", None, "", "The host by which others reach the apps (default: as the hub sees this machine)."],
        ["port-range", None, "20000-29999", "The ports that apps are given."],
        ["roles", None, None, "Roles of Procfiles to run, with commas between them (default: all)."],
        ["role", None, None, "The role that COMMAND plays (default: http)."],
        ["on-stop", None, "stop", "What SIGTERM does to the apps: stop or keep."],
        ["disk-reserve", None, None, "The bytes that stay free, as 2G (default: 512M, at most 5% of the disk)."],
        ["app-users", None, None, "FIRST-LAST: users (uid and gid) that only apps have, one each; needs root."],
        ["cgroup", None, "auto", "Where groups that limit apps are made: auto, none, or the directory of a cgroup v2."],
        ["cache-budget", None, "5G", "How large the caches of builds grow before those that nothing uses go."],
        ["log-budget", None, "1G", "How large the logs of all apps grow before the oldest go."],
        ["app-log-budget", None, "64M", "How large the logs of one app grow before its oldest go."],
    ]

    ports: tuple[int, int]
    disk_reserve: int | None = None
    app_users: tuple[int, int] | None = None
    cache_budget: int
    log_budgets: tuple[int, int]
    """Of one app, and of all."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, str] = {}
        self.apps: list[str] = []
        self.command: tuple[str, ...] = ()
        self.roles: tuple[str, ...] = ()

    def opt_label(self, text: str) -> None:
        """KEY=VALUE, for `deployctl deploy --where`; may be given several times."""
        try:
            key, value = label(text)
        except Invalid as error:
            raise usage.UsageError(f"--label: {error}") from None
        self.labels[key] = value

    def opt_app(self, text: str) -> None:
        """Run this app only; may be given several times."""
        try:
            self.apps.append(app_name(text))
        except Invalid as error:
            raise usage.UsageError(f"--app: {error}") from None

    def parseArgs(self, *command: str) -> None:
        self.command = command

    def postOptions(self) -> None:
        super().postOptions()
        if not self["hub"]:
            raise usage.UsageError("--hub HOST:PORT is missing: where is the hub?")
        if self["on-stop"] not in ON_STOP:
            raise usage.UsageError(f"--on-stop is stop or keep, not {self['on-stop'][:40]!r}")
        try:
            check_address("hub", self["hub"])
            if self["registry"]:
                check_addresses("registry", self["registry"])
            self["name"] = drone_name(socket.gethostname() if self["name"] is None else self["name"])
            self["advertise"] = host_name(self["advertise"]) if self["advertise"] else ""
            self._check_roles()
            if not is_unicode(self.command):
                raise Invalid("COMMAND is not UTF-8, so that it could not be saved; put it into a script")
        except Invalid as error:
            raise usage.UsageError(str(error)) from None
        if self["cgroup"] not in (delegation.AUTO, delegation.NONE) and not self["cgroup"].startswith("/"):
            raise usage.UsageError(f"--cgroup is auto, none or a directory, not {self['cgroup'][:40]!r}")
        if self["app-users"] is not None:
            self.app_users = _users(self["app-users"])
        self.ports = _port_range(self["port-range"])
        if self["disk-reserve"] is not None:
            self.disk_reserve = self._bytes("disk-reserve")
        self.cache_budget = self._bytes("cache-budget")
        self.log_budgets = self._log_budget("app-log-budget"), self._log_budget("log-budget")

    def described(self, owner: str, enforces: tuple[str, ...] = ()) -> DroneDescription:
        """What the hub is told; ``owner`` is the drone's identity."""
        return DroneDescription(
            name=self["name"],
            owner=owner,
            labels=self.labels,
            command=self.command,
            role=self["role"] or "http",
            roles=self.roles,
            apps=tuple(self.apps),
            enforces=enforces,
        )

    def _bytes(self, name: str) -> int:
        try:
            return byte_count(self[name])
        except Invalid as error:
            raise usage.UsageError(f"--{name}: {error}") from None

    def _log_budget(self, name: str) -> int:
        size = self._bytes(name)
        if size < LEAST_LOG:
            raise usage.UsageError(
                f"--{name} is at least 1M, not {self[name]!r}: a deploy that fails shows the last lines"
            )
        return size

    def _check_roles(self) -> None:
        if self["role"] is not None:
            role_name(self["role"])
            if not self.command:
                raise Invalid("--role says what COMMAND is: give one after --, or --roles for roles of Procfiles")
            if self["role"] == "release":
                raise Invalid("--role release: that runs once per release, as the commit says it; choose another one")
        if self["roles"] is not None:
            if self.command:
                raise Invalid("--roles chooses from Procfiles, which a drone with a COMMAND does not read")
            self.roles = tuple(dict.fromkeys(role_name(role.strip()) for role in self["roles"].split(",")))


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    right = dash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()
    if not right or not 0 < int(first) <= int(last) < 65536:
        raise usage.UsageError(f"--port-range is FIRST-LAST within 1-65535, not {text[:40]!r}")
    return int(first), int(last)


def _users(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    right = dash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()
    if not right or not 0 < int(first) <= int(last) < 2**31:
        raise usage.UsageError(f"--app-users is FIRST-LAST, as 60000-60999, not {text[:40]!r}")
    return int(first), int(last)
