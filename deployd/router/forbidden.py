"""Where deployd itself listens: nothing is ever sent there, whatever a row says."""

from __future__ import annotations

from collections.abc import Iterable

from deployd.model.address import Address, is_loopback
from deployd.model.invalid import Invalid

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def forbidden(own: Iterable[int], others: Iterable[str], here: frozenset[str]) -> frozenset[tuple[str, int]]:
    """Every address of ``own`` ports and of ``others`` (HOST:PORT), where ``here`` are this machine's addresses.

    What is on this machine may be reached at any of its addresses.
    """
    machine = here | LOOPBACK
    found = {(host, port) for port in own for host in machine}
    for text in others:
        try:
            address = Address.parse(text.rpartition("://")[2])
        except Invalid:
            continue
        is_here = address.host in machine or is_loopback(address.host)
        found |= {(host, address.port) for host in (machine if is_here else ())} | {(address.host, address.port)}
    return frozenset(found)
