"""All living processes of the machine at one moment, and which of them are an instance's.

Note [Finding a tree]
~~~~~~~~~~~~~~~~~~~~~
Four nets, since an app can slip through each. Its processes are

- those that bear its mark (Note [The mark that stays]): nothing that a process does by accident loses it;
- those of the session of the process that was started (lost by calling setsid);
- the descendants of any process found (lost when a parent dies);
- those without any mark that have PROCESS_ID=<instance> in their environment (lost by clearing it): what was started
  before there were marks, or where the machine does not let them be set.

The id has a digest of the drone's identity in it, so another drone's processes are never met.

The session's process, as a ProcessRef of this boot, counts by itself, unless the pid has meanwhile gone to another
process. As a bare number it counts only if one of its processes is known otherwise: after a reboot the number may be
anybody's. This process and its ancestors are never found, nor what else they started; nor is the keeper, which is the
parent of every app and for a moment bears the mark of what it starts.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from attrs import frozen

from deployd.processes.marks import is_mark, mark

PROC = Path("/proc")
_BLANK = b"\0\0"
_EXEC = 0.002
_VANISHED = -1
_LOOKS = 10
_ID = re.compile(rb"\0PROCESS_ID=([^\0]+)(?=\0)")


@frozen
class ProcessRef:
    """One process, for ever: pids are used again, a pid with its boot and start time is not.

    ``created`` is ``BOOT:TICKS``; both parts can be saved and compared after a restart of anything.
    """

    pid: int
    created: str


@frozen
class Stat:
    """``ticks``: when it was started, since the boot."""

    lives: bool
    parent: int
    ticks: int


class Forest:
    """``Forest.now()`` looks once, and cheaply: at the marks and sessions of all processes, at the environment of those
    without a mark. ``of`` then answers for any number of instances.

    A pid may have gone to another process meanwhile. So ``of`` first asks since when the process of that pid is there,
    and then once more whether it belongs to the instance.
    """

    def __init__(self, spared: Collection[int]) -> None:
        self._spared = spared
        self._bearing: dict[int | bytes, list[int]] = {}
        self._sessions: dict[int, list[int]] = {}
        self._there: frozenset[int] = frozenset()
        self._lived: set[int] = set()
        self._boot = machine_boot()

    @classmethod
    def now(cls, spared: Collection[int] = ()) -> Forest:
        """All processes (those in this pid namespace) but this one, its ancestors, and ``spared``."""
        forest = cls(lineage() | set(spared))
        for _ in range(_LOOKS):
            if not forest._look():
                break
        return forest

    def of(self, instance: str, session: ProcessRef | int | None = None) -> frozenset[ProcessRef]:
        """Every process of the instance with that id, wherever it has gone (Note [Finding a tree])."""
        for _ in range(_LOOKS):
            found, ended = self._found(instance, session)
            # Whoever has ended since may have gone on as his child.
            if found or not ended or not self._look():
                break
        return frozenset(ProcessRef(pid, f"{self._boot}:{ticks}") for pid, ticks in found.items())

    def _look(self) -> bool:
        """At all that were not there at the last look; whether there are any.

        What forks, and is gone itself, while the others are looked at, is seen by the next look: that is at few, and
        faster than one forks. So what lived then counts, though it may be gone a moment later.
        """
        before = self._there
        there = frozenset(int(name) for name in os.listdir(PROC) if name.isdigit())  # noqa: PTH208 - names, not paths
        blank = []
        self._there = there
        for pid in there.difference(before, self._spared):
            session = _session_of(pid)
            self._sessions.setdefault(session, []).append(pid)
            if borne := mark_of(pid):
                self._bearing.setdefault(borne, []).append(pid)
                if before and (stat := stat_of(pid)) and stat.lives:
                    self._lived.add(pid)
            elif not self._note_environment(pid) and session:
                blank.append(pid)
        if blank:
            # One in the midst of an exec shows no environment for a moment.
            time.sleep(_EXEC)
        for pid in blank:
            self._note_environment(pid)
        return not there <= before

    def _found(self, instance: str, session: ProcessRef | int | None) -> tuple[dict[int, int], bool]:
        """Pids, with the ticks at which they were started; whether there were more that have ended."""
        marked, name = mark(instance), instance.encode()
        found: dict[int, int] = {}
        bearing = [*self._bearing.get(marked, ()), *self._bearing.get(name, ())]
        self._add(found, bearing, lambda pid: mark_of(pid) == marked or name in _ids(_environ(pid)))
        ended = len(found) < len(bearing)
        number = self._own_session(session, found)
        if number is not None and number != os.getsid(0):
            self._add(found, self._sessions.get(number, ()), lambda pid: _session_of(pid) == number)
        if isinstance(session, ProcessRef) and number is not None:
            self._add(found, self._present(number), lambda pid: session.created == f"{self._boot}:{found[pid]}")
        self._add_descendants(found)
        return found, ended

    def _present(self, pid: int) -> list[int]:
        return [pid] if stat_of(pid) else []

    def _note_environment(self, pid: int) -> bool:
        """Whether it has one."""
        environ = _environ(pid)
        for name in _ids(environ):
            self._bearing.setdefault(name, []).append(pid)
        return environ != _BLANK

    def _own_session(self, session: ProcessRef | int | None, known: Collection[int]) -> int | None:
        """The number of the session if it may be taken for the instance's."""
        if isinstance(session, ProcessRef):
            boot, _, ticks = session.created.partition(":")
            leader = stat_of(session.pid)
            if boot == self._boot and (leader is None or leader.ticks == int(ticks)):
                return session.pid
            session = session.pid
        if session is not None and any(pid == session or _session_of(pid) == session for pid in known):
            return session
        return None

    def _add(self, found: dict[int, int], pids: Iterable[int], proven: Callable[[int], bool]) -> None:
        """Add those of ``pids`` that live and are ``proven``, with the ticks at which they were started.

        One that was seen alive and is no more is added, too: it may have ended because its child goes on, and nobody
        may think that nothing is left.
        """
        for pid in pids:
            if pid in found or pid in self._spared:
                continue
            stat = stat_of(pid)
            if stat is None or (not stat.lives and pid in self._lived):
                found[pid] = _VANISHED
            elif stat.lives:
                found[pid] = stat.ticks
                if not proven(pid):
                    del found[pid]

    def _add_descendants(self, found: dict[int, int]) -> None:
        waiting = list(found)
        while waiting:
            parent = waiting.pop()
            before = set(found)
            self._add(found, children_of(parent), lambda pid: _parent_of(pid) == parent)  # noqa: B023 - called at once
            waiting.extend(found.keys() - before)


def stat_of(pid: int) -> Stat | None:
    try:
        with FileIO(f"{PROC}/{pid}/stat") as file:
            text = file.readall()
    except OSError:
        return None
    # The name in brackets may itself hold brackets and spaces.
    fields = text[text.rfind(b")") + 2 :].split(None, 20)
    if len(fields) < 20:
        return None
    # A main thread that ended leaves a zombie entry behind which the other threads still run.
    lives = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
    return Stat(lives, int(fields[1]), int(fields[19]))


def children_of(pid: int, proc: Path = PROC) -> list[int]:
    found: list[int] = []
    try:
        for thread in (proc / str(pid) / "task").iterdir():
            found += map(int, (thread / "children").read_bytes().split())
    except OSError:
        # It is gone, or this kernel does not tell; a descendant is known by its mark all the same.
        pass
    return found


def lineage() -> frozenset[int]:
    """This process and its ancestors."""
    line = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        stat = stat_of(pid)
        pid = stat.parent if stat else 0
    return frozenset(line | {1})


def machine_boot() -> str:
    if not _boot_id:
        with FileIO(f"{PROC}/sys/kernel/random/boot_id") as file:
            _boot_id.append(file.readall().decode().strip().replace("-", "")[:12])
    return _boot_id[0]


_boot_id: list[str] = []


def mark_of(pid: int) -> int:
    """The mark that it bears, 0 for none."""
    # Somebody else's processes cannot be asked, and need not be.
    with suppress(OSError):
        soft, _ = resource.prlimit(pid, resource.RLIMIT_RTTIME)
        return soft if is_mark(soft) else 0
    return 0


def _session_of(pid: int) -> int:
    """0 for a kernel thread, or where the session began outside of this pid namespace, or it is gone."""
    with suppress(OSError):
        return os.getsid(pid)
    return 0


def _parent_of(pid: int) -> int:
    stat = stat_of(pid)
    return stat.parent if stat else 0


def _ids(environ: bytes) -> list[bytes]:
    return _ID.findall(environ)


def _environ(pid: int) -> bytes:
    with suppress(OSError), FileIO(f"{PROC}/{pid}/environ") as file:
        return b"\0" + file.readall() + b"\0"
    return b""
