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
from collections.abc import Collection, Iterable
from contextlib import suppress
from io import FileIO

from attrs import frozen

from deployd.processes.marks import is_mark, mark

_PROC = "/proc"
_BLANK = b"\0\0"
_KTHREADD = 2
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
    session: int
    ticks: int


class Forest:
    """``Forest.now()`` looks once; ``of`` then answers for any number of instances."""

    def __init__(self, seen: dict[int, Stat]) -> None:
        self._seen = seen
        self._bearing: dict[int | bytes, list[int]] = {}
        self._sessions: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}
        self._boot = machine_boot()

    @classmethod
    def now(cls, spared: Collection[int] = ()) -> Forest:
        """All living processes (those in this pid namespace) but this one, its ancestors, and ``spared``."""
        left_out = lineage() | set(spared)
        seen = {}
        for name in os.listdir(_PROC):  # noqa: PTH208 - names, not paths, and often
            if name.isdigit() and (pid := int(name)) not in left_out:
                stat = stat_of(pid)
                if stat and stat.lives:
                    seen[pid] = stat
        forest = cls(seen)
        forest._read()
        return forest

    def of(self, instance: str, session: ProcessRef | int | None = None) -> frozenset[ProcessRef]:
        """Every process of the instance with that id, wherever it has gone (Note [Finding a tree])."""
        found = {*self._bearing.get(mark(instance), ()), *self._bearing.get(instance.encode(), ())}
        number = self._own_session(session, found)
        if number is not None and number != os.getsid(0):
            found.update(self._sessions.get(number, ()))
        if number in self._seen:
            found.add(number)
        self._add_descendants(found)
        return frozenset(ProcessRef(pid, f"{self._boot}:{self._seen[pid].ticks}") for pid in found)

    def _read(self) -> None:
        blank = []
        for pid, stat in self._seen.items():
            self._sessions.setdefault(stat.session, []).append(pid)
            self._children.setdefault(stat.parent, []).append(pid)
            if stat.parent == _KTHREADD:
                continue
            borne = _mark_of(pid)
            environ = b"" if borne else _environ(pid)
            if environ == _BLANK:
                blank.append(pid)
            self._note(pid, [borne] if borne else _ID.findall(environ))
        for pid in blank:
            # One in the midst of an exec shows no environment for a moment: look again.
            self._note(pid, _ID.findall(_environ(pid)))

    def _note(self, pid: int, borne: Iterable[int | bytes]) -> None:
        for one in borne:
            self._bearing.setdefault(one, []).append(pid)

    def _own_session(self, session: ProcessRef | int | None, known: Collection[int]) -> int | None:
        """The number of the session if it may be taken for the instance's."""
        if isinstance(session, ProcessRef):
            boot, _, ticks = session.created.partition(":")
            leader = self._seen.get(session.pid)
            if boot == self._boot and (leader is None or leader.ticks == int(ticks)):
                return session.pid
            session = session.pid
        if session is not None and any(self._seen[pid].session == session or pid == session for pid in known):
            return session
        return None

    def _add_descendants(self, found: set[int]) -> None:
        waiting = list(found)
        while waiting:
            new = [pid for pid in self._children.get(waiting.pop(), ()) if pid not in found]
            found.update(new)
            waiting.extend(new)


def stat_of(pid: int) -> Stat | None:
    try:
        with FileIO(f"{_PROC}/{pid}/stat") as file:
            text = file.readall()
    except OSError:
        return None
    # The name in brackets may itself hold brackets and spaces.
    fields = text[text.rfind(b")") + 2 :].split(None, 20)
    if len(fields) < 20:
        return None
    # A main thread that ended leaves a zombie entry behind which the other threads still run.
    lives = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
    return Stat(lives, int(fields[1]), int(fields[3]), int(fields[19]))


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
        with FileIO(f"{_PROC}/sys/kernel/random/boot_id") as file:
            _boot_id.append(file.readall().decode().strip().replace("-", "")[:12])
    return _boot_id[0]


_boot_id: list[str] = []


def _mark_of(pid: int) -> int:
    """The mark that it bears, 0 for none."""
    # Somebody else's processes cannot be asked, and need not be.
    with suppress(OSError):
        soft, _ = resource.prlimit(pid, resource.RLIMIT_RTTIME)
        return soft if is_mark(soft) else 0
    return 0


def _environ(pid: int) -> bytes:
    with suppress(OSError), FileIO(f"{_PROC}/{pid}/environ") as file:
        return b"\0" + file.readall() + b"\0"
    return b""
