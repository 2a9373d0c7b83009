"""What runs of a cluster, as the kernel tells it."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployd.processes.marks import is_mark, mark
from tests.e2e.cluster import Cluster, Daemon


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    state: str
    id: str
    """The instance whose id is in its environment, or whose mark it bears."""


class Witness:
    """Finds the processes of a cluster's instances by what they bear, wherever they went."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ids: dict[int, str] = {}

    def trees(self) -> dict[str, list[int]]:
        """By id of instance, command or build, the pids of all that runs of it."""
        self._learn()
        spared = set(self._cluster.keepers())
        found: dict[str, list[int]] = {}
        for process in self._processes():
            if process.id and process.pid not in spared and process.state != "Z":
                found.setdefault(process.id, []).append(process.pid)
        return found

    def of(self, drone: Daemon) -> list[int]:
        """All that runs on one drone."""
        ids = {path.name for path in drone.state.glob("logs/*/*/*")}
        return [pid for id, pids in self.trees().items() for pid in pids if id in ids]

    def apps(self, drone: Daemon) -> list[int]:
        """What the drone has started itself of that."""
        return [pid for pid in self.of(drone) if b"PROCESS_ID=" in _environ(pid)]

    def zombies(self) -> list[int]:
        """Children that ended, and that drone or keeper has not taken leave of."""
        drones = [one.process.pid for one in self._cluster.daemons.values() if one.process and one.kind == "drone"]
        parents = {*self._cluster.keepers(), *drones}
        return [process.pid for process in self._processes() if process.state == "Z" and process.parent in parents]

    def listens(self, pid: int, port: int) -> bool:
        try:
            connections = psutil.Process(pid).net_connections("inet")
        except psutil.Error:
            return False
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)

    def leftovers(self, ids: set[str]) -> list[str]:
        """Directories for temporary files of what is none of ``ids``."""
        drones = [daemon.state for daemon in self._cluster.daemons.values() if daemon.kind == "drone"]
        return [path.name for state in drones for path in (state / "tmp").glob("*") if path.name not in ids]

    def _learn(self) -> None:
        """Whatever was ever started has a log of its id."""
        for path in self._cluster.directory.glob("*/logs/*/*/*"):
            self._ids[mark(path.name)] = path.name

    def _processes(self) -> list[Process]:
        return [process for path in Path("/proc").glob("[0-9]*") if (process := self._process(path))]

    def _process(self, path: Path) -> Process | None:
        pid = int(path.name)
        try:
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            soft = resource.prlimit(pid, resource.RLIMIT_RTTIME)[0]
            environ = _environ(pid) if is_mark(soft) else b""
        except OSError:
            return None
        return Process(pid, int(parent), state, self._ids.get(soft) or self._named(environ))

    def _named(self, environ: bytes) -> str:
        if str(self._cluster.directory).encode() not in environ:
            return ""
        named = [word[11:].decode() for word in environ.split(b"\0") if word.startswith(b"PROCESS_ID=")]
        return named[0] if named else "without an id"


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
