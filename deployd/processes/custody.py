"""Who holds the listening sockets of a port: the app that was given it, or somebody else.

Note [Whose port it is]
~~~~~~~~~~~~~~~~~~~~~~~
That a port answers does not say who answers. The kernel names every listening socket of the machine by its inode, and
/proc/PID/fd says which processes have it open. A port is an app's own if each socket that gets connections to its
address is held by a process of its tree, be it a child (nginx, gunicorn); with SO_REUSEPORT several sockets share the
connections, and one of a stranger's among them would get its part. Of the sockets of a port the kernel takes those
that are bound to the very address before those bound to all, and IPv4's before IPv6's that take both.

A socket that nobody whose descriptors we may read has open (another user's, another namespace's, a container's) is
not known to be a stranger's: it is let pass. The keeper is no stranger either: it has opened the socket for the app,
which must have it as well, though, to be known to hold it.

Most apps hold it in the process that was started or in a child of that, which is cheap to see. To find the others, or
a stranger, every process of the machine is looked at.

Everything here but Custody's own methods blocks: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred

from deployd.processes import trees
from deployd.processes.census import ToThread
from deployd.processes.forest import ProcessRef
from deployd.processes.listeners import Bind, listeners, open_sockets, reached

PROC = Path("/proc")

Find = Callable[[str, ProcessRef | None, Collection[int]], Collection[ProcessRef]]


@frozen
class Holding:
    """``sockets``: the inodes of those that get a port's connections; ``stranger``: the pid of somebody else who holds
    one of them, 0 if there is none; ``known``: each was found open in a process of the app."""

    sockets: frozenset[int]
    stranger: int = 0
    known: bool = True


class Custody:
    """Looks in threads; ``spared`` gives the processes that are nobody's (the keeper), ``proc`` is where /proc is."""

    def __init__(
        self,
        to_thread: ToThread,
        spared: Callable[[], Collection[int]] = tuple,
        proc: Path = PROC,
        find: Find = trees.find,
    ) -> None:
        self._to_thread = to_thread
        self._spared = spared
        self._proc = proc
        self._find = find

    def holding(self, id: str, session: ProcessRef | None, bind: Bind) -> Deferred[Holding]:
        """Whether the instance ``id``, started as ``session``, holds the port at ``bind``."""
        first, spared = session.pid if session else 0, self._spared()
        return self._to_thread(holding, self._proc, bind, first, partial(self._find, id, session, spared), spared)

    def sockets(self, binds: Collection[Bind]) -> Deferred[dict[Bind, frozenset[int]]]:
        """The inodes of the sockets that get the connections to each of ``binds``."""
        return self._to_thread(sockets, self._proc, binds)

    def queued(self, bind: Bind) -> Deferred[int]:
        """How many connections to ``bind`` nobody has accepted yet."""
        return self._to_thread(queued, self._proc, bind)

    def listening(self, id: str, session: ProcessRef | None, closely: bool = False) -> Deferred[tuple[str, ...]]:
        """Where the instance listens; unless ``closely``, only its first process and its descendants are looked at."""
        find = partial(self._find, id, session, self._spared()) if closely else tuple
        return self._to_thread(listening, self._proc, session.pid if session else 0, find)


def holding(
    proc: Path,
    bind: Bind,
    first: int,
    find: Callable[[], Collection[ProcessRef]],
    spared: Collection[int] = (),
) -> Holding:
    """``first`` is the pid that most likely holds the socket; ``find`` gives all processes of the app."""
    found = sockets(proc, (bind,))[bind]
    if not found:
        return Holding(found, known=False)
    near: tuple[Callable[[], Collection[int]], ...] = (
        lambda: (first,),
        lambda: trees.descendants(first, proc),
        lambda: _pids(find()),
    )
    if any(found <= held_by(proc, pids()) for pids in near):
        return Holding(found)
    # Rare, so it may be slow. Holders before the tree: a child that is started between the two is in the tree too.
    holders = _holders(proc, found)
    tree = _pids(find())
    left = [holders[inode] for inode in found if not holders[inode] & tree]
    # One that has ended meanwhile may have been a process of the app.
    strangers = [pid for pids in left for pid in pids - set(spared) if open_sockets(proc, pid) & found]
    return Holding(found, min(strangers, default=0), known=not left)


def sockets(proc: Path, binds: Collection[Bind]) -> dict[Bind, frozenset[int]]:
    """The inodes of the listening sockets that get the connections to each of ``binds``."""
    return {bind: frozenset(one.inode for one in found) for bind, found in reached(proc, binds).items()}


def queued(proc: Path, bind: Bind) -> int:
    return sum(one.queue for one in reached(proc, (bind,))[bind])


def listening(proc: Path, first: int, find: Callable[[], Collection[ProcessRef]]) -> tuple[str, ...]:
    """``HOST:PORT`` of the sockets on which ``first``, its descendants or the processes of ``find`` listen."""
    held = held_by(proc, {first, *trees.descendants(first, proc), *_pids(find())})
    return tuple(sorted({one.text for one in listeners(proc) if one.inode in held}))


def held_by(proc: Path, pids: Collection[int]) -> frozenset[int]:
    return frozenset[int]().union(*(open_sockets(proc, pid) for pid in pids))


def described(bind: Bind, holding: Holding) -> str:
    """Why ``bind`` is not the app's, as a sentence."""
    number = bind[1]
    if not holding.sockets:
        return f"nothing listens on port {number} any more"
    return f"port {number} is held by another process" + (f" (pid {holding.stranger})" if holding.stranger else "")


def _pids(refs: Collection[ProcessRef]) -> set[int]:
    return {ref.pid for ref in refs}


def _holders(proc: Path, wanted: frozenset[int]) -> dict[int, set[int]]:
    """The pids that have each of these sockets open."""
    holders: dict[int, set[int]] = {inode: set() for inode in wanted}
    for name in os.listdir(proc):  # noqa: PTH208 - names, not paths
        if name.isdigit():
            for inode in open_sockets(proc, int(name)) & wanted:
                holders[inode].add(int(name))
    return holders
