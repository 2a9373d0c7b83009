"""Where deployd itself listens: nothing is ever sent there, whatever a row says."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from deployd.model.address import Address, is_loopback
from deployd.model.invalid import Invalid

# Hosts that are remembered: as many drones as there may be.
MAX_HOSTS = 4096

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def forbidden(own: Iterable[int], others: Iterable[str], here: frozenset[str]) -> frozenset[tuple[str, int]]:
    """Every address of ``own`` ports and of ``others`` (HOST:PORT,...), where ``here`` are this machine's addresses.

    What is on this machine may be reached at any of its addresses.
    """
    machine = here | LOOPBACK
    found = {(host, port) for port in own for host in machine}
    for text in ",".join(others).split(","):
        try:
            address = Address.parse(text.rpartition("://")[2])
        except Invalid:
            continue
        is_here = address.host in machine or is_loopback(address.host)
        found |= {(host, address.port) for host in (machine if is_here else ())} | {(address.host, address.port)}
    return frozenset(found)


@lru_cache(MAX_HOSTS)
def known_as(host: str) -> str:
    """One name for each host: this machine also answers at 127.0.0.2, 0.0.0.0 and ::ffff:127.0.0.1."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower()
    address = getattr(address, "ipv4_mapped", None) or address
    return "127.0.0.1" if address.is_loopback or address.is_unspecified else str(address)
