"""Control groups: limits that hold for all processes of an instance together, where the kernel is to be asked for them.

Everything here blocks, for some microseconds: the files are the kernel's.

Note [Who goes into a group]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A process writes itself into its groups before it becomes the app (``Groups.entered``), so that nothing of the app was
ever outside, and whatever it forks is born inside. The groups are the drone's, below one that has its identity in its
name: what a killed drone has left there is known for its own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

from attrs import field, frozen

from deployd.model.role import Limits

CONTROLLERS = ("memory", "pids", "cpu")
PERIOD = 100_000
"""Microseconds in which a share of the CPU is counted."""
_ENTER = 'for group; do [ "$group" != -- ] || break; echo $$ >"$group" || exit 125; shift; done; shift; exec "$@"'
_PROCS = "cgroup.procs"


@frozen
class Groups:
    """Groups by instance. ``tops`` are the directories in which they are made, by controller: one of each of the old
    hierarchies (``version`` 1), or one and the same (2). They are there as long as something is in them."""

    version: int = 0
    tops: Mapping[str, Path] = field(factory=dict, hash=False)
    _lock: Lock = field(factory=Lock, eq=False, repr=False)

    def make(self, id: str, limits: Limits) -> None:
        """Make the groups of an instance of which nothing runs; raise OSError."""
        self.remove(id)
        for controller, top in self.tops.items():
            settings = _settings(self.version, controller, limits)
            if settings:
                with self._lock:
                    open_top(top, self.version)
                    (top / id).mkdir(exist_ok=True)
            for name, value in settings:
                with suppress(FileNotFoundError):
                    # Kernels without swap accounting have no file for it.
                    (top / id / name).write_text(value)

    def entered(self, id: str, limits: Limits, argv: tuple[str, ...]) -> tuple[str, ...]:
        """``argv`` as a command that first enters the groups that ``make`` makes; itself where that makes none."""
        groups = {
            str(top / id / _PROCS): None
            for controller, top in self.tops.items()
            if _settings(self.version, controller, limits)
        }
        return ("/bin/sh", "-c", _ENTER, "sh", *groups, "--", *argv) if groups else argv

    def remove(self, id: str) -> None:
        """A group in which something still runs stays, until ``clean``."""
        for top in self._all():
            with self._lock:
                _remove(top / id)
                _remove(top)

    def clean(self, kept: Collection[str]) -> None:
        """Remove the groups of instances that are not ``kept``, and in which nothing runs."""
        for top in self._all():
            for path in top.iterdir() if top.is_dir() else ():
                if path.is_dir() and path.name not in kept:
                    self.remove(path.name)

    def killed(self, id: str) -> int:
        """How many processes of the instance the kernel has killed for want of memory."""
        top = self.tops.get("memory")
        if top is None:
            return 0
        try:
            text = (top / id / ("memory.oom_control" if self.version == 1 else "memory.events")).read_text()
        except OSError:
            return 0
        words = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        return int(words.get("oom_kill", "0"))

    def _all(self) -> set[Path]:
        return set(self.tops.values())

    def __bool__(self) -> bool:
        return bool(self.tops)


def open_top(top: Path, version: int) -> None:
    """Make the group in which the instances' are; raise OSError."""
    top.mkdir(exist_ok=True)
    if version == 2:
        hand_down(top)
    elif (hierarchy := top / "memory.use_hierarchy").exists() and hierarchy.read_text().strip() == "0":
        # What is below counts for what is above: the default for long, and not everywhere.
        hierarchy.write_text("1")


def hand_down(group: Path) -> None:
    """Give the controllers that a group of version 2 has to those below it. Raise OSError."""
    for controller in (group / "cgroup.controllers").read_text().split():
        if controller in CONTROLLERS:
            # One that is refused does not keep the others back.
            with suppress(OSError):
                (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _settings(version: int, controller: str, limits: Limits) -> tuple[tuple[str, str], ...]:
    """What is written into which file, in order."""
    if controller == "memory" and limits.memory:
        # Without a limit of swap, an app that eats memory would take all of that instead.
        if version == 1:
            return ("memory.limit_in_bytes", str(limits.memory)), ("memory.memsw.limit_in_bytes", str(limits.memory))
        return ("memory.max", str(limits.memory)), ("memory.swap.max", "0")
    if controller == "pids" and limits.processes:
        return (("pids.max", str(limits.processes)),)
    if controller == "cpu" and limits.cpu:
        quota = limits.cpu * PERIOD // 100
        if version == 1:
            return ("cpu.cfs_period_us", str(PERIOD)), ("cpu.cfs_quota_us", str(quota))
        return (("cpu.max", f"{quota} {PERIOD}"),)
    return ()


def _remove(path: Path) -> None:
    # A directory of groups cannot be deleted but by rmdir, which takes its files along.
    with suppress(OSError):
        os.rmdir(path)  # noqa: PTH106 - as FileNotFoundError is the rule
