"""Who holds the listening sockets of a port: the app that was given it, or somebody else.

Note [Whose port it is]
~~~~~~~~~~~~~~~~~~~~~~~
That a port answers does not say who answers. /proc/net/tcp names every listening socket of the machine by its inode,
and /proc/PID/fd says which processes have it open. A port is an app's own if each socket that gets connections to its
address is held by a process of its tree, be it a child (nginx, gunicorn); with SO_REUSEPORT several sockets share the
connections, and one of a stranger's among them would get its part. Of the sockets of a port the kernel takes those
that are bound to the very address before those bound to all, and IPv4's before IPv6's that take both.

A socket that nobody whose descriptors we may read has open (another user's, another namespace's, a container's) is
not known to be a stranger's: it is let pass.

Everything here but Custody's own methods blocks: call it in a thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred

from deployd.processes import trees
from deployd.processes.ending import ToThread
from deployd.processes.readiness import probe_host
from deployd.processes.trees import ProcessRef

PROC = Path("/proc")

# What an app was told to bind: (HOST, PORT).
Bind = tuple[str, int]
Find = Callable[[str, "ProcessRef | int | None"], Collection[ProcessRef]]
IP = IPv4Address | IPv6Address

_LISTEN = b"0A"
_CHUNK = 64 * 1024
_ANY = (IPv4Address(0), IPv6Address(0))


@frozen
class Holding:
    """``sockets``: the inodes of those that get a port's connections; ``stranger``: the pid of somebody else who holds
    one of them, 0 if there is none; ``known``: each was found open in a process of the app."""

    sockets: frozenset[int]
    stranger: int = 0
    known: bool = True


class Custody:
    """Looks in threads; ``proc`` is where /proc is."""

    def __init__(self, to_thread: ToThread, proc: Path = PROC, find: Find = trees.find) -> None:
        self._to_thread = to_thread
        self._proc = proc
        self._find = find

    def holding(self, id: str, session: ProcessRef | None, bind: Bind) -> Deferred[Holding]:
        """Whether the instance ``id``, started as ``session``, holds the port at ``bind``."""
        find = partial(self._find, id, session)
        return self._to_thread(holding, self._proc, bind, session.pid if session else 0, find)

    def sockets(self, binds: Collection[Bind]) -> Deferred[dict[Bind, frozenset[int]]]:
        """The inodes of the sockets that get the connections to each of ``binds``."""
        return self._to_thread(sockets, self._proc, binds)


def holding(proc: Path, bind: Bind, first: int, find: Callable[[], Collection[ProcessRef]]) -> Holding:
    """``first`` is the pid that most likely holds the socket; ``find`` gives all processes of the app."""
    found = sockets(proc, (bind,))[bind]
    if not found:
        return Holding(found, known=False)
    if found <= _open(proc, first) or found <= _all_open(proc, find()):
        return Holding(found)
    # Rare, so it may be slow. Holders before the tree: a child that is started between the two is in the tree too.
    holders = _holders(proc, found)
    tree = {ref.pid for ref in find()}
    left = [holders[inode] for inode in found if not holders[inode] & tree]
    # One that has ended meanwhile may have been a process of the app.
    strangers = [pid for pids in left for pid in pids if _open(proc, pid) & found]
    return Holding(found, min(strangers, default=0), known=not left)


def sockets(proc: Path, binds: Collection[Bind]) -> dict[Bind, frozenset[int]]:
    """The inodes of the listening sockets that get the connections to each of ``binds``."""
    wanted = {port for _, port in binds}
    listening: dict[int, list[tuple[IP, int]]] = {}
    for name in ("tcp", "tcp6"):
        for address, port, inode in _listening(proc / "net" / name, wanted):
            listening.setdefault(port, []).append((address, inode))
    return {(host, port): frozenset(_reached(host, listening.get(port, ()))) for host, port in binds}


def _reached(host: str, listening: Collection[tuple[IP, int]]) -> Iterable[int]:
    """By the rules of Note [Whose port it is]."""
    if host != probe_host(host):
        # Told to bind all addresses: connections come to any of them.
        return {inode for _, inode in listening}
    try:
        asked = _plain(ip_address(host))
    except ValueError:
        return {inode for _, inode in listening}
    for address in (asked, *_ANY) if asked.version == 4 else (asked, _ANY[1]):
        best = {inode for bound, inode in listening if bound == address}
        if best:
            return best
    return ()


def _listening(table: Path, ports: Collection[int]) -> Iterator[tuple[IP, int, int]]:
    """(address, port, inode) of the listening sockets on ``ports``.

    The kernel writes those that listen first; the connections after them, perhaps many thousands, are not read.
    """
    ends = {b":%04X" % port for port in ports}
    for line in _lines(table):
        fields = line.split(None, 10)
        if len(fields) < 10 or fields[0] == b"sl":
            continue
        if fields[3] != _LISTEN:
            return
        where = fields[1]
        if where[-5:] in ends:
            yield _address(where[:-5]), int(where[-4:], 16), int(fields[9])


def _lines(table: Path) -> Iterator[bytes]:
    try:
        with table.open("rb", buffering=_CHUNK) as file:
            yield from file
    except OSError:
        # No IPv6 here, or no such table in this namespace.
        return


def _address(digits: bytes) -> IP:
    """Each 32 bits are in the machine's own byte order."""
    raw = bytes.fromhex(digits.decode("ascii"))
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return _plain(ip_address(b"".join(words)))


def _plain(address: IP) -> IP:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _open(proc: Path, pid: int) -> frozenset[int]:
    """The inodes of the sockets that a process has open; none if it is gone or may not be read."""
    found = set()
    try:
        with os.scandir(proc / str(pid) / "fd") as descriptors:
            for descriptor in descriptors:
                found.add(_inode(descriptor.path))
    except OSError:
        pass
    return frozenset(found - {0})


def _all_open(proc: Path, tree: Collection[ProcessRef]) -> frozenset[int]:
    return frozenset[int]().union(*(_open(proc, ref.pid) for ref in tree))


def _inode(descriptor: str) -> int:
    try:
        target = os.readlink(descriptor)  # noqa: PTH115 - strings, not paths, and often
    except OSError:
        return 0
    number = target.removeprefix("socket:[").removesuffix("]")
    return int(number) if target.startswith("socket:[") and number.isdecimal() else 0


def _holders(proc: Path, wanted: frozenset[int]) -> dict[int, set[int]]:
    """The pids that have each of these sockets open."""
    holders: dict[int, set[int]] = {inode: set() for inode in wanted}
    for name in os.listdir(proc):  # noqa: PTH208 - names, not paths
        if name.isdigit():
            for inode in _open(proc, int(name)) & wanted:
                holders[inode].add(int(name))
    return holders


def described(bind: Bind, holding: Holding) -> str:
    """Why ``bind`` is not the app's, as a sentence."""
    number = bind[1]
    if not holding.sockets:
        return f"nothing listens on port {number} any more"
    return f"port {number} is held by another process" + (f" (pid {holding.stranger})" if holding.stranger else "")
