"""The living processes of an instance, found in /proc and signalled without mistaking a stranger for one of them.

Everything here blocks (``find`` for some 3 microseconds a process on the machine): call it in a thread.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from deployd.processes.forest import PROC, Forest, ProcessRef, children_of, lineage, machine_boot, mark_of, stat_of
from deployd.processes.marks import mark

__all__ = ["ProcessRef", "alive", "descendants", "find", "quell", "reference", "signal_all"]

_ROUNDS = 30


def reference(pid: int) -> ProcessRef | None:
    """The process that has ``pid`` now (also one that ended and was not reaped); None if there is none."""
    stat = stat_of(pid)
    return ProcessRef(pid, f"{machine_boot()}:{stat.ticks}") if stat else None


def find(instance: str, session: ProcessRef | int | None = None, spared: Collection[int] = ()) -> frozenset[ProcessRef]:
    """Every living process of the instance with that id: ``Forest.of`` at this moment."""
    return Forest.now(spared).of(instance, session)


def alive(refs: Collection[ProcessRef]) -> frozenset[ProcessRef]:
    """Those of ``refs`` that still run; far cheaper than ``find``."""
    boot = machine_boot()
    living = set()
    for ref in refs:
        stat = stat_of(ref.pid)
        if stat and stat.lives and ref.created == f"{boot}:{stat.ticks}":
            living.add(ref)
    return frozenset(living)


def descendants(pid: int, proc: Path = PROC) -> frozenset[int]:
    """The children of ``pid``, theirs, and so on: as cheap as they are few, but whose parent died is not met."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = [child for child in children_of(waiting.pop(), proc) if child not in found]
        found.update(new)
        waiting.extend(new)
    return frozenset(found)


def signal_all(refs: Collection[ProcessRef], signum: int) -> frozenset[ProcessRef]:
    """Send ``signum`` to each process; return those that it could not be sent to for want of permission.

    A pidfd is opened first and the start time compared after it, so a pid that was used again is never hit.
    """
    spared = lineage()
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


def quell(instance: str, session: ProcessRef | int | None, spared: Collection[int] = ()) -> None:
    """KILL all processes of an instance that forks while it is killed.

    They are stopped first, and killed once a look meets no new one: each death would make room for another fork. One
    that lives for a millisecond, as its child goes on, is gone before a whole look is over: so whatever bears the mark
    is stopped as soon as it is seen, the youngest first.
    """
    stopped: frozenset[ProcessRef] = frozenset()
    for _ in range(_ROUNDS):
        seen = _stop_on_sight(instance, spared)
        found = find(instance, session, spared)
        signal_all(found - seen - stopped, signal.SIGSTOP)
        if seen | found <= stopped:
            break
        stopped |= seen | found
    signal_all(stopped, signal.SIGKILL)


def _stop_on_sight(instance: str, spared: Collection[int]) -> frozenset[ProcessRef]:
    wanted = mark(instance)
    stopped = set()
    for pid in sorted((int(name) for name in os.listdir(PROC) if name.isdigit()), reverse=True):  # noqa: PTH208
        if pid not in spared and mark_of(pid) == wanted:
            ref = reference(pid)
            if ref and mark_of(pid) == wanted:
                signal_all([ref], signal.SIGSTOP)
                stopped.add(ref)
    return alive(stopped)


class _PidFd:
    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def send(self, signum: int) -> None:
        signal.pidfd_send_signal(self._fd, signum)

    def close(self) -> None:
        os.close(self._fd)
