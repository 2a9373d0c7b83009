"""The router's command-line options."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from twisted.python import usage

from deployd.daemon.options import DaemonOptions, check_address, check_addresses
from deployd.model.invalid import Invalid
from deployd.model.names import drone_name

HUB_PORT = 6001
REGISTRY_PORT = 6000
HTTP_PORT = 8080
MAX_WORKERS = 64

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class RouterOptions(DaemonOptions):
    """After parsing, ports are numbers (None: not asked for), ``trusted`` are networks."""

    kind = "router"
    default_port = HTTP_PORT
    synopsis = "--hub HOST:PORT [options]"
    longdesc = "Sends HTTP requests to the releases that the hub's routes name, at the ports that the registry has."

    optParameters = [
        ["hub", None, None, "The hub's AMP address: HOST:PORT or a Twisted client endpoint string."],
        ["registry", None, "", "The registry's AMP address, or several with commas (default: what the hub says)."],
        ["name", None, None, "What the router is called (default: the host name); no two have the same."],
        ["port", "p", str(HTTP_PORT), "The HTTP port; 0 takes a free one."],
        ["https-port", None, None, "The HTTPS port; 0 takes a free one. Needs --certs."],
        ["certs", None, None, "A directory of certificates: NAME.pem (chain and key), or NAME.crt and NAME.key."],
        ["admin-port", None, None, "A port for /status, /metrics and /healthz, on loopback unless --admin-interface."],
        ["admin-interface", None, "127.0.0.1", "The address that the admin port listens on."],
        ["workers", None, "1", "How many processes serve."],
        ["access-log", None, None, "A file for a line of JSON about each request; - is stdout."],
        ["trust", None, "", "Networks, with commas between them, whose X-Forwarded-* are believed."],
    ]

    http_port: int
    https_port: int | None = None
    admin_port: int | None = None
    workers: int
    certs: Path | None = None
    trusted: Networks = ()

    def postOptions(self) -> None:
        super().postOptions()
        if not self["hub"]:
            raise usage.UsageError("--hub HOST:PORT is missing: where is the hub?")
        if self["listen"] is not None:
            raise usage.UsageError("--listen is for AMP ports, and a router has none; give --port and --interface")
        try:
            check_address("hub", self["hub"])
            if self["registry"]:
                check_addresses("registry", self["registry"])
            self["name"] = drone_name(socket.gethostname() if self["name"] is None else self["name"])
        except Invalid as error:
            raise usage.UsageError(str(error).replace("drone name", "router name")) from None
        self._read_ports()
        self.workers = self._count("workers")
        self.trusted = _networks(self["trust"])
        if self["access-log"] == "":
            raise usage.UsageError("--access-log is empty; name a file, or - for stdout")
        if self["access-log"] not in (None, "-"):
            self["access-log"] = str(Path(self["access-log"]).absolute())

    def _read_ports(self) -> None:
        self.http_port = self.port("port")
        self.admin_port = None if self["admin-port"] is None else self.port("admin-port")
        self.https_port = None if self["https-port"] is None else self.port("https-port")
        if (self.https_port is None) != (self["certs"] is None):
            raise usage.UsageError("--https-port and --certs go together: give both, or neither")
        self.certs = Path(self["certs"]).absolute() if self["certs"] else None
        if self.certs is not None and not self.certs.is_dir():
            raise usage.UsageError(f"--certs: {str(self.certs)[:200]!r} is not a directory")
        given = [port for port in (self.http_port, self.https_port, self.admin_port) if port]
        if len(set(given)) < len(given):
            raise usage.UsageError("--port, --https-port and --admin-port are different ports")

    def _count(self, name: str) -> int:
        text = str(self[name])
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MAX_WORKERS:
            raise usage.UsageError(f"--{name} is a number from 1 to {MAX_WORKERS}, not {text[:40]!r}")
        return int(text)


def _networks(text: str) -> Networks:
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError:
        raise usage.UsageError(f"--trust: {text[:80]!r} are not networks: write like 10.0.0.0/8,127.0.0.1") from None
