"""The hub's command-line options."""

from __future__ import annotations

from pathlib import Path

from twisted.python import usage

from deployd.daemon.options import DaemonOptions, check_addresses
from deployd.git.limits import GitLimits, limits_of
from deployd.model.invalid import Invalid
from deployd.model.registration import host_name
from deployd.net.addresses import tcp_listener

AMP_PORT = 6001
CONFIG_KEY = "config.key"
LAST_PORT = 65535


class HubOptions(DaemonOptions):
    """After parsing, the ports are numbers."""

    kind = "hub"
    default_port = AMP_PORT
    synopsis = "[options]"
    longdesc = "Takes pushes, keeps the releases, and tells the drones what to run."

    optParameters = [
        ["port", "p", str(AMP_PORT), "The AMP port; 0 takes a free one."],
        ["git-port", None, None, "The HTTP port, for git (default: the AMP port + 1; 0 when --port is 0)."],
        ["git-listen", None, None, "A Twisted server endpoint string for HTTP; ssl:... serves HTTPS."],
        ["registry", None, "127.0.0.1:6000", "The registry, as drones and people are told of it."],
        ["config-key", None, None, "The file with the key of all configs (default: STATE_DIR/config.key)."],
        ["advertise", None, "", "The host by which other machines reach this one."],
    ]

    amp_port: int
    git_port: int
    config_key: Path
    git_limits: GitLimits

    def __init__(self) -> None:
        super().__init__()
        self._git_limits: list[str] = []

    def opt_git_limit(self, text: str) -> None:
        """A bound on what git's clients may cost, NAME=N, such as pack-bytes=2G; may be given several times."""
        self._git_limits.append(text)

    def postOptions(self) -> None:
        super().postOptions()
        if self["config-key"] == "":
            raise usage.UsageError("--config-key is empty; name a file, or leave the option away")
        self.config_key = Path(self["config-key"]).absolute() if self["config-key"] else self.state_dir / CONFIG_KEY
        self.amp_port = self.port("port")
        if self["git-port"] is None:
            if self.amp_port == LAST_PORT:
                raise usage.UsageError("there is no port after 65535 for git; give --git-port")
            self["git-port"] = str(self.amp_port + 1 if self.amp_port else 0)
        self.git_port = self.port("git-port")
        if self.git_port and self.git_port == self.amp_port:
            raise usage.UsageError("--port and --git-port are two ports")
        if not self["registry"]:
            raise usage.UsageError("--registry is an address: HOST:PORT")
        try:
            self.git_limits = limits_of(self._git_limits)
        except Invalid as error:
            raise usage.UsageError(f"--git-limit: {error}") from None
        try:
            check_addresses("registry", self["registry"])
        except Invalid as error:
            raise usage.UsageError(str(error)) from None
        try:
            self["advertise"] = host_name(self["advertise"]) if self["advertise"] else ""
        except Invalid as error:
            raise usage.UsageError(f"--advertise: {error}") from None

    def git_listener(self) -> str:
        """The server endpoint string of the HTTP port: ``--git-listen``, else TCP."""
        return str(self["git-listen"]) if self["git-listen"] else tcp_listener(self.git_port, self.interface)

    @property
    def scheme(self) -> str:
        """How git's URLs begin."""
        return "https" if str(self["git-listen"] or "").startswith(("ssl:", "tls:")) else "http"
