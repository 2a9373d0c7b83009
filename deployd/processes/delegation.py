"""Finding the control groups that deployd may make on this machine.

Note [What is delegated]
~~~~~~~~~~~~~~~~~~~~~~~~
Under version 2 a group belongs to whoever manages it, which on most machines is systemd: root may write everywhere and
should not. So only a group that says it is delegated (``Delegate=yes``, which systemd notes in an attribute of the
directory) is taken, or one that a person names. As a group that hands controllers down may have no processes itself,
those in it, the drone and its keeper, move one down. The old hierarchies of version 1 have no such rules: there the
drone's own group is taken wherever groups can be made in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from deployd.errors import Refused
from deployd.processes.cgroups import CONTROLLERS, Groups, hand_down, open_top

AUTO, NONE = "auto", "none"
OWN = "deployd"
"""The group into which the drone's own processes move."""
_DELEGATED = ("user.delegate", "trusted.delegate")
_ROUNDS = 5


@frozen
class Mount:
    """One mounted hierarchy: its directory, which group that directory is, and its controllers (version 2: none)."""

    directory: Path
    root: str
    controllers: frozenset[str]
    version: int

    def path(self, group: str) -> Path:
        """The directory of a group as /proc/PID/cgroup names it."""
        inside = group.removeprefix(self.root) if self.root != "/" and group.startswith(self.root) else group
        path = self.directory / inside.strip("/")
        return path if path.is_dir() else self.directory


def find(name: str, wanted: str = AUTO, proc: Path = Path("/proc/self")) -> Groups:
    """The groups that can be made here, under ``name``; none is an answer. ``wanted`` is auto, none, or the directory
    of a group of version 2 that is deployd's to use: raise Refused if that cannot be."""
    if wanted == NONE:
        return Groups()
    if wanted != AUTO:
        groups = _second(Path(wanted), name)
        if not groups:
            raise Refused(f"--cgroup {wanted}: no controllers can be had there (is it a cgroup v2, and yours?)")
        return groups
    try:
        mounts = read_mounts((proc / "mountinfo").read_text())
        own = read_own((proc / "cgroup").read_text())
    except OSError:
        return Groups()
    for mount in mounts:
        if mount.version == 2 and (base := _delegated(mount.path(own.get("", "/")))):
            groups = _second(base, name)
            if groups:
                return groups
    return _first(mounts, own, name)


def read_mounts(text: str) -> list[Mount]:
    """Of /proc/PID/mountinfo."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or not kind[0].startswith("cgroup"):
            continue
        controllers = frozenset(kind[2].split(",")) & frozenset(CONTROLLERS) if kind[0] == "cgroup" else frozenset()
        found.append(Mount(Path(fields[4]), fields[3], controllers, 2 if kind[0] == "cgroup2" else 1))
    return found


def read_own(text: str) -> dict[str, str]:
    """Of /proc/PID/cgroup: the group of this process by controller, that of version 2 under ""."""
    own = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        for controller in controllers.split(","):
            own[controller] = group
    return own


def _delegated(own: Path) -> Path | None:
    """``own``, or the one above it (``DelegateSubgroup=``, or where an earlier drone has moved to)."""
    for path in (own, own.parent):
        for attribute in _DELEGATED:
            with suppress(OSError):
                if os.getxattr(path, attribute) == b"1":
                    return path
    return None


def _first(mounts: list[Mount], own: dict[str, str], name: str) -> Groups:
    tops = {}
    for mount in mounts:
        for controller in sorted(mount.controllers):
            top = mount.path(own.get(controller, "/")) / name
            if controller not in tops and _can_hold(top):
                tops[controller] = top
    return Groups(1, _ordered(tops))


def _can_hold(top: Path) -> bool:
    """Whether groups can be made in it, and limited: the directories are there for all, the right is not."""
    trial = top / "trial"
    try:
        open_top(top, 1)
        trial.mkdir(exist_ok=True)
        return os.access(trial / "cgroup.procs", os.W_OK)
    except OSError:
        return False
    finally:
        _tidy(trial, top)


def _second(base: Path, name: str) -> Groups:
    top = base / name
    try:
        if not set((base / "cgroup.controllers").read_text().split()) & set(CONTROLLERS):
            return Groups()
        # Only the root has none; it may have processes, which are the whole machine's.
        if (base / "cgroup.type").exists():
            _empty(base)
        hand_down(base)
        open_top(top, 2)
        given = (top / "cgroup.subtree_control").read_text().split()
    except OSError:
        return Groups()
    finally:
        _tidy(top)
    return Groups(2, _ordered({controller: top for controller in CONTROLLERS if controller in given}))


def _empty(base: Path) -> None:
    """Move the processes of a delegated group one down; new ones may come meanwhile."""
    for _ in range(_ROUNDS):
        pids = (base / "cgroup.procs").read_text().split()
        if not pids:
            return
        (base / OWN).mkdir(exist_ok=True)
        for pid in pids:
            with suppress(ProcessLookupError):
                (base / OWN / "cgroup.procs").write_text(pid)


def _tidy(*groups: Path) -> None:
    """What is empty goes: nobody knows whether it is ever needed."""
    for group in groups:
        with suppress(OSError):
            group.rmdir()


def _ordered(tops: dict[str, Path]) -> dict[str, Path]:
    return {controller: tops[controller] for controller in CONTROLLERS if controller in tops}
