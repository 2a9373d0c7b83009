"""Which host a row carries."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from deployd.model.address import is_loopback


def row_host(peer_host: str, advertised: str, own: str) -> str:
    """The host of rows of an owner that comes from ``peer_host`` and advertises that, or "".

    ``own`` is the host of rows whose owner is on this machine and names none.
    """
    peer = _plain(peer_host)
    here = not peer or is_loopback(peer)
    # What an owner elsewhere calls loopback is not ours.
    if advertised and (here or not is_loopback(advertised)):
        return advertised
    return (own or "127.0.0.1") if here else peer


def _plain(host: str) -> str:
    """An IPv4 address that an IPv6 socket shows as ``::ffff:1.2.3.4``, as itself."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped) if mapped else host
