"""The registry's command-line options."""

from __future__ import annotations

from pathlib import Path

from twisted.python import usage

from deployd.daemon.options import DaemonOptions
from deployd.model.invalid import Invalid
from deployd.model.registration import host_name
from deployd.net.addresses import tcp_listener

AMP_PORT = 6000
HTTP_PORT = 6080


class RegistryOptions(DaemonOptions):
    """After parsing, the ports are numbers and the times are seconds."""

    kind = "registry"
    default_port = AMP_PORT
    synopsis = "[options]"
    longdesc = "Holds the port table: who listens where, by commit. Reading it needs no secret, unless --private."

    optParameters = [
        ["port", "p", str(AMP_PORT), "The AMP port; 0 takes a free one."],
        ["http-port", None, None, "The HTTP port (default: 6080; 0 when --port is 0)."],
        ["http-listen", None, None, "A Twisted server endpoint string for HTTP."],
        ["http-interface", None, None, "Listen for HTTP on this address only (default: as AMP)."],
        ["heartbeat", None, "15", "Seconds of silence after which a peer is asked for a sign of life."],
        ["timeout", None, "45", "Seconds of silence after which a peer is lost, and after which lost rows fall."],
        ["advertise", None, "", "The host by which other machines reach this one."],
        ["dns-port", None, None, "Answer DNS for the zone deployd, UDP and TCP (default: off; 0 takes a free one)."],
        ["authorized-keys", None, None, "A directory of the Ed25519 keys that may register without the secret."],
    ]

    optFlags = [
        ["private", None, "Reading needs the secret, a read token or an authorized key, too."],
        ["dns-public", None, "Let --dns-port answer everybody although the registry is --private."],
    ]

    amp_port: int
    http_port: int
    dns_port: int | None
    heartbeat: float
    timeout: float

    def postOptions(self) -> None:
        super().postOptions()
        self.amp_port = self.port("port")
        if self["http-port"] is None:
            self["http-port"] = str(HTTP_PORT if self.amp_port else 0)
        self.http_port = self.port("http-port")
        self.dns_port = None if self["dns-port"] is None else self.port("dns-port")
        self.heartbeat, self.timeout = self.seconds("heartbeat"), self.seconds("timeout")
        if self.timeout <= self.heartbeat:
            raise usage.UsageError("--timeout must be longer than --heartbeat, or nobody could answer in time")
        try:
            self["advertise"] = host_name(self["advertise"]) if self["advertise"] else ""
        except Invalid as error:
            raise usage.UsageError(f"--advertise: {error}") from None

        self._check_keys()

    @property
    def is_open(self) -> bool:
        return super().is_open and self.authorized_keys is None

    @property
    def authorized_keys(self) -> Path | None:
        """The directory, if there is one."""
        return Path(self["authorized-keys"]).absolute() if self["authorized-keys"] else None

    def _check_keys(self) -> None:
        if self["authorized-keys"] == "":
            raise usage.UsageError("--authorized-keys is empty; name a directory, or leave the option away")
        if self["private"] and self.is_open:
            raise usage.UsageError("--private needs a secret or --authorized-keys, or nobody could read")
        if self["private"] and self.dns_port is not None and not self["dns-public"]:
            raise usage.UsageError("--dns-port would tell everybody what --private closes; add --dns-public if so")

    @property
    def scheme(self) -> str:
        """How the URLs of the HTTP port begin."""
        return "https" if str(self["http-listen"] or "").startswith(("ssl:", "tls:")) else "http"

    def http_listener(self) -> str:
        """The server endpoint string of the HTTP port: ``--http-listen``, else TCP."""
        if self["http-listen"]:
            return str(self["http-listen"])
        interface = self["http-interface"]
        return tcp_listener(self.http_port, self.interface if interface is None else interface)
