"""The living processes of an instance, found in /proc and signalled without mistaking a stranger for one of them.

Everything here blocks (some 20 microseconds a process on the machine): call it in a thread.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import closing, suppress
from io import FileIO

from attrs import evolve, field, frozen

_PROC = "/proc"
_BLANK = b"\0\0"
_KTHREADD = 2


@frozen
class ProcessRef:
    """One process, for ever: pids are used again, a pid with its boot and start time is not.

    ``created`` is ``BOOT:TICKS``; both parts can be saved and compared after a restart of anything.
    """

    pid: int
    created: str


@frozen
class _Seen:
    pid: int
    parent: int
    session: int
    ticks: int
    marked: bool = field(default=False)


def reference(pid: int) -> ProcessRef | None:
    """The process that has ``pid`` now (also one that ended and was not reaped); None if there is none."""
    stat = _stat(pid)
    return ProcessRef(pid, f"{_boot()}:{stat[3]}") if stat else None


def find(instance: str, session: ProcessRef | int | None = None) -> frozenset[ProcessRef]:
    """Every living process of the instance with that id, wherever it has gone.

    Note [Finding a tree]
    ~~~~~~~~~~~~~~~~~~~~~
    Three nets, since an app can slip through each: the processes of its session (lost by calling setsid), the
    descendants of any process found (lost when a parent dies), and all that have PROCESS_ID=<instance> in their
    environment (lost by clearing or overwriting it). The id has a digest of the drone's identity in it, so another
    drone's processes are never met.

    ``session`` is the process that was started. As a ProcessRef of this boot it counts by itself, unless the pid has
    meanwhile gone to another process. As a bare number it counts only if one of its processes bears the mark: after a
    reboot the number may be anybody's. This process and its ancestors are never found, nor what else they started.
    """
    spared = _lineage()
    seen = {process.pid: process for process in _processes(instance.encode()) if process.pid not in spared}
    found = {pid for pid, process in seen.items() if process.marked}
    number = _own_session(session, seen, found)
    if number is not None and number != os.getsid(0):
        found |= {pid for pid, process in seen.items() if process.session == number}
    if number in seen:
        found.add(number)
    _add_descendants(seen, found)
    boot = _boot()
    return frozenset(ProcessRef(pid, f"{boot}:{seen[pid].ticks}") for pid in found)


def alive(refs: Collection[ProcessRef]) -> frozenset[ProcessRef]:
    """Those of ``refs`` that still run; far cheaper than ``find``."""
    boot = _boot()
    living = set()
    for ref in refs:
        stat = _stat(ref.pid)
        if stat and stat[0] and ref.created == f"{boot}:{stat[3]}":
            living.add(ref)
    return frozenset(living)


def signal_all(refs: Collection[ProcessRef], signum: int) -> frozenset[ProcessRef]:
    """Send ``signum`` to each process; return those that it could not be sent to for want of permission.

    A pidfd is opened first and the start time compared after it, so a pid that was used again is never hit.
    """
    spared = _lineage()
    refused = set()
    for ref in refs:
        if ref.pid in spared:
            continue
        try:
            with closing(_PidFd(ref.pid)) as process:
                if alive([ref]):
                    process.send(signum)
        except ProcessLookupError:
            continue
        except PermissionError:
            refused.add(ref)
    return frozenset(refused)


def find_and_signal(instance: str, session: ProcessRef | int | None, signum: int) -> frozenset[ProcessRef]:
    """``find``, then ``signal_all``, in one trip to the thread; return what was found."""
    found = find(instance, session)
    signal_all(found, signum)
    return found


class _PidFd:
    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def send(self, signum: int) -> None:
        signal.pidfd_send_signal(self._fd, signum)

    def close(self) -> None:
        os.close(self._fd)


def _own_session(session: ProcessRef | int | None, seen: dict[int, _Seen], marked: set[int]) -> int | None:
    """The number of the session if it may be taken for the instance's, by the rules of Note [Finding a tree]."""
    if isinstance(session, ProcessRef):
        boot, _, ticks = session.created.partition(":")
        leader = seen.get(session.pid)
        if boot == _boot() and (leader is None or leader.ticks == int(ticks)):
            return session.pid
        session = session.pid
    if session is not None and any(seen[pid].session == session or pid == session for pid in marked):
        return session
    return None


def _add_descendants(seen: dict[int, _Seen], found: set[int]) -> None:
    children: dict[int, list[int]] = {}
    for process in seen.values():
        children.setdefault(process.parent, []).append(process.pid)
    waiting = list(found)
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), ()) if pid not in found]
        found.update(new)
        waiting.extend(new)


def _processes(instance: bytes) -> list[_Seen]:
    """All living processes of the machine (those in this pid namespace)."""
    mark = b"\0PROCESS_ID=" + instance + b"\0"
    seen: list[_Seen] = []
    blank: list[_Seen] = []
    for name in os.listdir(_PROC):  # noqa: PTH208 - names, not paths, and often
        stat = _stat(int(name)) if name.isdigit() else None
        if stat and stat[0]:
            environ = _environ(int(name))
            process = _Seen(int(name), stat[1], stat[2], stat[3], mark in environ)
            (blank if environ == _BLANK and process.parent != _KTHREADD else seen).append(process)
    # One in the midst of an exec shows no environment for a moment: look again.
    return seen + [evolve(process, marked=mark in _environ(process.pid)) for process in blank]


def _environ(pid: int) -> bytes:
    # Somebody else's processes cannot be read, and need not be.
    with suppress(OSError), FileIO(f"{_PROC}/{pid}/environ") as file:
        return b"\0" + file.readall() + b"\0"
    return b""


def _stat(pid: int) -> tuple[bool, int, int, int] | None:
    """(lives, parent, session, start in ticks since boot) of ``pid``, or None."""
    try:
        with FileIO(f"{_PROC}/{pid}/stat") as file:
            text = file.readall()
    except OSError:
        return None
    # The name in brackets may itself hold brackets and spaces.
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    # A main thread that ended leaves a zombie entry behind which the other threads still run.
    lives = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
    return lives, int(fields[1]), int(fields[3]), int(fields[19])


def _lineage() -> frozenset[int]:
    """This process and its ancestors."""
    lineage = set()
    pid = os.getpid()
    while pid > 0 and pid not in lineage:
        lineage.add(pid)
        stat = _stat(pid)
        pid = stat[1] if stat else 0
    return frozenset(lineage | {1})


_boot_id: list[str] = []


def _boot() -> str:
    if not _boot_id:
        with FileIO(f"{_PROC}/sys/kernel/random/boot_id") as file:
            _boot_id.append(file.readall().decode().strip().replace("-", "")[:12])
    return _boot_id[0]
