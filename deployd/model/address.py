"""host:port, as people write it and as rows carry it."""

from __future__ import annotations

import ipaddress

from attrs import frozen

from deployd.model.invalid import Invalid


@frozen(order=True)
class Address:
    """One TCP address; ``str()`` gives ``HOST:PORT`` with brackets around an IPv6 host."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT`` or ``[IPV6]:PORT``; raise Invalid with the reason."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise Invalid(f"{text[:80]!r} is not an address: write HOST:PORT")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def reachable(address: Address, dialled: str) -> Address:
    """``address`` as a peer that dialled ``dialled`` can use it.

    A daemon that only knows itself by loopback names a host that a peer elsewhere would take for its own; such a peer
    already knows a host that works: the one it dialled.
    """
    # Nobody dials a host through a UNIX socket: both ends are on one machine.
    if dialled and is_loopback(address.host) and not is_loopback(dialled):
        return Address(dialled, address.port)
    return address
