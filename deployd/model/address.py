"""host:port, as people write it and as rows carry it."""

from __future__ import annotations

import ipaddress
import re

from attrs import frozen

from deployd.model.invalid import Invalid

MAX_ADDRESSES = 16

_COMMA = re.compile(r"(?<!\\),")


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


def each_address(text: str) -> tuple[str, ...]:
    """The addresses in ``A,B,C``, each HOST, HOST:PORT or an endpoint string (a comma in that is ``\\,``).

    Raise Invalid when one is empty, or there are too many.
    """
    parts = [part.strip() for part in _COMMA.split(text)]
    if not all(parts):
        raise Invalid(f"{text[:80]!r} has an empty address in it: write HOST:PORT,HOST:PORT")
    if len(parts) > MAX_ADDRESSES:
        raise Invalid(f"these are more than {MAX_ADDRESSES} addresses")
    return tuple(parts)


def is_several(text: str) -> bool:
    return _COMMA.search(text) is not None


def reachable_text(text: str, dialled: str) -> str:
    """``reachable`` for each HOST:PORT in ``A,B,C``; whatever else is in it stays as it is."""
    return ",".join(_reachable_part(part, dialled) for part in _COMMA.split(text))


def _reachable_part(text: str, dialled: str) -> str:
    try:
        return str(reachable(Address.parse(text.strip()), dialled))
    except Invalid:
        return text
