"""The listening TCP sockets of the machine, and which process has one open.

Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from attrs import frozen

from deployd.processes import sock_diag
from deployd.processes.probing import probe_host

# What an app was told to bind: (HOST, PORT).
Bind = tuple[str, int]
IP = IPv4Address | IPv6Address

_PROC = Path("/proc")
_LISTEN = b"0A"
_CHUNK = 64 * 1024
_ANY = (IPv4Address(0), IPv6Address(0))


@frozen
class Listener:
    """``queue``: how many connections wait in it to be accepted."""

    address: IP
    port: int
    inode: int
    queue: int = 0

    @property
    def text(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def reached(proc: Path, binds: Collection[Bind]) -> dict[Bind, tuple[Listener, ...]]:
    """The sockets that get the connections to each of ``binds``, by the rules of Note [Whose port it is]."""
    wanted = {port for _, port in binds}
    listening: dict[int, list[Listener]] = {}
    for one in listeners(proc, wanted):
        listening.setdefault(one.port, []).append(one)
    return {(host, port): tuple(_reached(host, listening.get(port, ()))) for host, port in binds}


def listeners(proc: Path, ports: Collection[int] | None = None) -> Iterator[Listener]:
    """Those on ``ports``, or all (Note [Not out of /proc/net])."""
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        try:
            found = _of_kernel(family, ports) if proc == _PROC else None
        except OSError:
            # A kernel without it, or a sandbox.
            found = None
        yield from _listening(proc / "net" / table, ports) if found is None else found


def _of_kernel(family: int, ports: Collection[int] | None) -> list[Listener]:
    wanted = None if ports is None else {port.to_bytes(2, "big") for port in ports}
    found = sock_diag.listening(family, *wanted) if wanted and len(wanted) == 1 else sock_diag.listening(family)
    return [
        Listener(_ip(one.address), int.from_bytes(one.port, "big"), one.inode, one.queue)
        for one in found
        if wanted is None or one.port in wanted
    ]


def open_sockets(proc: Path, pid: int) -> frozenset[int]:
    """The inodes of the sockets that a process has open; none if it is gone or may not be read."""
    found = set()
    try:
        with os.scandir(proc / str(pid) / "fd") as descriptors:
            for descriptor in descriptors:
                found.add(_inode(descriptor.path))
    except OSError:
        pass
    return frozenset(found - {0})


def _reached(host: str, listening: Collection[Listener]) -> Iterable[Listener]:
    if host != probe_host(host):
        # Told to bind all addresses: connections come to any of them.
        return listening
    asked = _asked(host)
    if asked is None:
        return listening
    for address in (asked, *_ANY) if asked.version == 4 else (asked, _ANY[1]):
        best = [one for one in listening if one.address == address]
        if best:
            return best
    return ()


@lru_cache(1000)
def _asked(host: str) -> IP | None:
    """None for a name."""
    try:
        return _plain(ip_address(host))
    except ValueError:
        return None


def _listening(table: Path, ports: Collection[int] | None) -> Iterator[Listener]:
    """The kernel writes those that listen first; the connections after them, perhaps many thousands, are not read."""
    ends = None if ports is None else {b":%04X" % port for port in ports}
    for line in _lines(table):
        fields = line.split(None, 10)
        if len(fields) < 10 or fields[0] == b"sl":
            continue
        if fields[3] != _LISTEN:
            return
        where = fields[1]
        if ends is None or where[-5:] in ends:
            yield Listener(_address(where[:-5]), int(where[-4:], 16), int(fields[9]), int(fields[4][-8:], 16))


def _lines(table: Path) -> Iterator[bytes]:
    try:
        with table.open("rb", buffering=_CHUNK) as file:
            yield from file
    except OSError:
        # No IPv6 here, or no such table in this namespace.
        return


@lru_cache(1000)
def _ip(address: bytes) -> IP:
    return _plain(ip_address(address))


@lru_cache(1000)
def _address(digits: bytes) -> IP:
    """Each 32 bits are in the machine's own byte order."""
    raw = bytes.fromhex(digits.decode("ascii"))
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return _plain(ip_address(b"".join(words)))


def _plain(address: IP) -> IP:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _inode(descriptor: str) -> int:
    try:
        target = os.readlink(descriptor)  # noqa: PTH115 - strings, not paths, and often
    except OSError:
        return 0
    number = target.removeprefix("socket:[").removesuffix("]")
    return int(number) if target.startswith("socket:[") and number.isdecimal() else 0
