"""What keeps apps from each other on this drone, and how one start is put into it."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, field, frozen

from deployd.drone.users import Users
from deployd.errors import Refused
from deployd.model.instance import AssignedInstance
from deployd.model.role import Limits
from deployd.planning.excess import bytes_text
from deployd.processes.cgroups import Groups
from deployd.processes.exits import Exit
from deployd.wire.keeping import Launch

HEADROOM = 512 << 20
"""What a process may reserve beyond its memory where only rlimits are there: they count what is not used, too."""
FORKS = 16
"""How many times its processes an app's user may have: all its instances are counted together."""


@frozen
class Isolation:
    """Without ``users`` all apps run as the drone's own. ``make``, ``own``, ``remove`` and ``cause`` block."""

    groups: Groups = field(factory=Groups)
    users: Users | None = None

    def enforced(self) -> tuple[str, ...]:
        """What is in force, in words."""
        found = ["rlimits"]
        if self.groups:
            found.append(f"cgroups v{self.groups.version} ({', '.join(self.groups.tops)})")
        found.append(f"watched {' and '.join(self.watched())}")
        if self.users is not None:
            found.append(f"own users {self.users.first}-{self.users.last}")
        return tuple(found)

    def watched(self) -> tuple[str, ...]:
        """What no kernel limits here, so that the drone must look (deployd.drone.limit_watch)."""
        named = (("memory", "memory"), ("processes", "pids"))
        return (*(name for name, controller in named if controller not in self.groups.tops), "disk")

    def make(self, line: AssignedInstance, scratch: Path) -> None:
        """Before an instance is started, of which nothing runs. Raise Refused."""
        try:
            self.groups.make(line.id, line.settings.limits)
            if self.users is not None:
                self.users.own_directory(line.app, scratch)
        except OSError as error:
            raise Refused(f"the limits of {line.id} cannot be set: {error.strerror}") from None

    def own(self, app: str, *trees: Path) -> None:
        """These are the app's, before anything of it has run in them. Raise Refused."""
        if self.users is not None:
            for tree in trees:
                self.users.own(app, tree)

    def confine(self, launch: Launch, app: str, limits: Limits | None = None, group: str = "") -> Launch:
        """``launch`` as it is asked for: within ``limits``, in the groups of instance ``group`` (default: its own), as
        the app's user."""
        limits = limits or Limits()
        argv, env = launch.argv, launch.env
        if self.users is not None:
            argv, env = self.users.lowered(app, argv, env)
        argv = self.groups.entered(group or launch.id, limits, argv)
        return evolve(launch, argv=argv, env=env, limits=self._rlimits(limits))

    def remove(self, id: str) -> None:
        """Nothing of the instance runs any more."""
        self.groups.remove(id)

    def cause(self, id: str, limits: Limits, how: Exit) -> str:
        """Why it ended, if a limit has ended it."""
        if limits.memory and not (how.code == 0 and how.signal is None) and self.groups.killed(id):
            return f"used more than its {bytes_text(limits.memory)} of memory: {how.text}"
        return ""

    def _rlimits(self, limits: Limits) -> Limits:
        memory = limits.memory + HEADROOM if limits.memory and "memory" not in self.groups.tops else 0
        counted = self.users is not None and "pids" not in self.groups.tops
        return Limits(memory, limits.files, limits.processes * FORKS if counted else 0)
