"""The command-line options that all daemons share (docs/reference lists them)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import ClassVar

from twisted.python import usage

from deployd.errors import UsageError
from deployd.model.address import Address, each_address
from deployd.model.invalid import Invalid
from deployd.model.registration import host_name
from deployd.net.addresses import tcp_listener
from deployd.net.secret import Secret, secret_from_file

LOG_FORMATS = ("text", "json")


class DaemonOptions(usage.Options):
    """Options of a daemon of one ``kind``; after parsing, ``secret``, ``state_dir`` and ``interface`` are values."""

    kind: ClassVar[str] = ""
    default_port: ClassVar[int | None] = None

    optParameters = [
        ["state-dir", None, None, "Where the daemon keeps its state (default: the XDG state directory)."],
        ["secret", None, None, "The cluster's secret; `ps` shows it, so better use one of the next two."],
        ["secret-file", None, None, "A file whose first line is the secret; or set DEPLOYD_SECRET."],
        ["listen", None, None, "A Twisted server endpoint string for the AMP port."],
        ["interface", None, None, "Listen on this address only (default: loopback without a secret, else all)."],
        ["log-format", None, "text", "text or json."],
    ]

    secret: Secret | None = None
    state_dir: Path
    interface: str = ""

    @property
    def is_open(self) -> bool:
        """Whether everybody who gets there may do everything."""
        return self.secret is None

    def parseOptions(self, options: list[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            # twistd would print the whole help and then the sentence, to stdout; `twist` and tests have no parent.
            if self.parent is None:
                raise
            print(f"deployd-{self.kind}: {error}", file=sys.stderr)
            raise SystemExit(2) from None

    def postOptions(self) -> None:
        try:
            self.secret = self._read_secret()
        except UsageError as error:
            raise usage.UsageError(str(error)) from None
        if self["log-format"] not in LOG_FORMATS:
            raise usage.UsageError(f"--log-format is text or json, not {self['log-format']!r}")
        if self["state-dir"] == "":
            raise usage.UsageError("--state-dir is empty; name a directory, or leave the option away")
        self.state_dir = Path(self["state-dir"]).absolute() if self["state-dir"] else default_state_dir(self.kind)
        self.interface = self["interface"] if self["interface"] is not None else ("" if self.secret else "127.0.0.1")

    def port(self, name: str, low: int = 0) -> int:
        """The value of a port option; raise twisted's UsageError with a sentence."""
        text = str(self[name])
        if not text.isascii() or not text.isdigit() or not low <= int(text) < 65536:
            raise usage.UsageError(f"--{name} is a port number from {low} to 65535, not {text[:40]!r}")
        return int(text)

    def seconds(self, name: str) -> float:
        """The value of an option in seconds, above 0."""
        try:
            value = float(self[name])
        except ValueError:
            value = 0.0
        if not 0 < value < 1e7:
            raise usage.UsageError(f"--{name} is a number of seconds above 0, not {str(self[name])[:40]!r}")
        return value

    def amp_listener(self, port: int) -> str:
        """The server endpoint string of the AMP port: ``--listen``, else TCP on ``port``."""
        return str(self["listen"]) if self["listen"] else tcp_listener(port, self.interface)

    def _read_secret(self) -> Secret | None:
        if self["secret"] is not None:
            if self["secret-file"] is not None:
                raise UsageError("give --secret or --secret-file, not both")
            return Secret(self["secret"])
        if self["secret-file"] is not None:
            return secret_from_file(self["secret-file"])
        if "DEPLOYD_SECRET" in os.environ:
            return Secret(os.environ["DEPLOYD_SECRET"])
        return None


def default_state_dir(kind: str) -> Path:
    """``/var/lib/deployd/KIND`` for root, else ``deployd/KIND`` in the XDG state directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/deployd") / kind
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "deployd" / kind


def check_addresses(option: str, text: str) -> None:
    """``check_address`` for each of ``A,B,C``."""
    for part in each_address(text):
        check_address(option, part)


def check_address(option: str, text: str) -> None:
    """Refuse what can be no host; a Twisted endpoint string shows when it is used."""
    try:
        host = Address.parse(text).host
    except Invalid:
        host = "" if ":" in text else text
    try:
        if host or ":" not in text:
            host_name(host)
    except Invalid:
        raise Invalid(f"--{option}: {text[:80]!r} is not an address: write HOST:PORT") from None
