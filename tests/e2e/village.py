"""A cluster whose drones, keepers and apps die at any time, and what must be true of it afterwards."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

from tests.e2e.cluster import BIN, Cluster, Daemon, get
from tests.e2e.waiting import PAUSE, until
from tests.e2e.witness import Witness

PYTHON = f"exec {BIN}/python3 -S -E web.py"
WEB = (Path(__file__).parent / "harried" / "web.py").read_text()
PATIENCE = 60.0
# A process, and the stray one that it leaves about.
EACH = 2
ROLES = ("http", "count-worker")

TOML = """
[release]
command = "echo $RELEASE >> {directory}/migrated; sleep 0.2; echo done"

[[build]]
command = "mkdir made; cp lock made/; sleep 0.2; echo $(cat lock) >> $HOME/built"
cache = ["lock"]
makes = ["made"]

[roles.http]
command = "{python}"
check.interval = 0.5
stop.grace = 5

[roles.count-worker]
command = "{python} quiet"
"""


@dataclass(frozen=True)
class Release:
    name: str
    commit: str
    mode: str
    lock: str


class Village:
    """Each drone runs each release, whose processes print numbers; ``attempts`` and ``builds`` are how often the
    release command of a release, and the build of a lock file on one drone, may have run.
    """

    def __init__(self, cluster: Cluster, chance: random.Random, drones: int) -> None:
        self.cluster = cluster
        self.chance = chance
        self.witness = Witness(cluster)
        self.drones = [cluster.start_drone(f"d{number + 1}", "--on-stop", "keep") for number in range(drones)]
        self.releases: list[Release] = []
        self.names: dict[str, str] = {}
        """The commits of all releases that ever were."""
        self.rows: list[dict[str, Any]] = []
        self.stopped: set[str] = set()
        self.spawned: dict[str, tuple[Release, str]] = {}
        self.attempts: Counter[str] = Counter()
        self.builds: Counter[str] = Counter()
        self.mode = self.lock = ""
        self.tale: list[str] = []
        self._restarts: dict[str, int] = {}
        self._begun = time.monotonic()
        files = {"web.py": WEB, "deployd.toml": TOML.format(python=PYTHON, directory=cluster.directory)}
        self.repository = cluster.repository("webapp", files)
        self.change_lock()
        self.push()
        self.configure()

    def close(self) -> None:
        """An orderly end, after which nothing is left; where all is not right there is none."""
        if not self.cluster.hub.running:
            return
        for drone in self.drones:
            self.stop_drone(drone)
        assert self.witness.trees() == {}

    def drop(self) -> None:
        """End what is left, whatever it is."""
        for drone in self.drones:
            if drone.running:
                drone.kill()
            for pid in [*self.cluster.keepers(drone.state.name), *self.witness.of(drone)]:
                kill(pid, signal.SIGKILL)

    # What people do.

    def configure(self) -> None:
        self.mode = f"mode{self.chance.random()}"
        self.cluster.deployctl("config", "set", "webapp", f"MODE={self.mode}")

    def change_lock(self) -> None:
        self.lock = f"lock{self.chance.random()}"

    def push(self) -> Release:
        """What the next deploy is of."""
        commit = self.repository.commit({"number": str(self.chance.random()), "lock": self.lock})
        self.repository.push("webapp")
        return Release("", commit, self.mode, self.lock)

    def deploy(self, release: Release, *, undisturbed: bool = True) -> bool:
        """Whether it went well; with ``undisturbed`` it has to."""
        self.count_attempt(release)
        done = self.cluster.run_deployctl("deploy", "webapp", release.commit)
        assert done.returncode == 0 or not undisturbed, (done.stdout, done.stderr)
        if done.returncode == 0:
            self.deployed(release)
        return done.returncode == 0

    def count_attempt(self, release: Release) -> None:
        self.attempts[release.commit] += 1
        self.builds[release.lock] += 1

    def deployed(self, release: Release) -> None:
        rows = self.cluster.json("releases", "webapp")
        (name,) = {row["release"] for row in rows if row["commit"] == release.commit}
        self.names[name] = release.commit
        self.releases.append(Release(name, release.commit, release.mode, release.lock))

    def stop_drone(self, drone: Daemon) -> None:
        """SIGTERM under `--on-stop stop`, which it is told by a start."""
        place = drone._arguments.index("keep")
        drone._arguments[place] = "stop"
        drone.stop()
        drone.start()
        drone.stop()
        drone._arguments[place] = "keep"
        until(lambda: not self.cluster.keepers(drone.state.name), "its keeper has ended")

    # What must be true.

    @contextmanager
    def deed(self, what: str) -> Iterator[None]:
        """Something that is done, after which all must become right."""
        self.tell(what)
        yield
        self.settle()

    def tell(self, what: str) -> None:
        self.tale.append(f"{time.monotonic() - self._begun:8.3f} {what}")
        print(self.tale[-1], flush=True)

    def until_back(self) -> None:
        """Until every daemon is ready."""
        for daemon in self.cluster.daemons.values():
            daemon.wait()
        until(lambda: all(row["state"] == "connected" for row in self.cluster.json("drones")), "all drones are there")

    def settle(self) -> None:
        end = time.monotonic() + PATIENCE
        self.until_back()
        while wrong := self._wrong():
            if time.monotonic() > end:
                story = "\n".join(self.tale[-20:])
                raise AssertionError("not right:\n" + "\n".join(wrong) + f"\nafter\n{story}")
            select.select([], [], [], PAUSE)

    def instances(self) -> list[dict[str, Any]]:
        return list(self.cluster.json("ps"))

    def pids(self) -> dict[str, tuple[int, int]]:
        """By id, the pid and how often it was started again, as of when all was right last."""
        return {row["id"]: (row["pid"], row["restarts"]) for row in self.rows if row["pid"]}

    def _wrong(self) -> list[str]:
        """What is not as it should be, as far as it makes sense to look on."""
        self.rows = rows = self.instances()
        wrong = [*self._listed(rows)]
        wrong = wrong or [*self._running(rows), *self._once(), *self._fallen(rows)]
        return wrong or self._registered(rows)

    def _listed(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        """Whether those are listed that should be, in the state that they should be in."""
        names = [drone.state.name for drone in self.drones]
        wanted = Counter((release.name, role, name) for release in self.releases for role in ROLES for name in names)
        wanted.update((release.name, "run", drone) for release, drone in self.spawned.values())
        there = Counter((row["release"], row["role"], row["drone"]) for row in rows)
        for what in (wanted - there) + (there - wanted):
            yield f"{what}: {wanted[what]} wanted, {there[what]} listed"
        for row in rows:
            state = "stopped" if row["id"] in self.stopped else "ready"
            if row["state"] != state:
                yield f"{row['id']} on {row['drone']} is {row['state']}, not {state}: {row['reason']}"

    def _running(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        """Whether each runs once, and nothing else does."""
        trees = self.witness.trees()
        for row in rows:
            pids = trees.pop(row["id"], [])
            if row["id"] in self.stopped:
                if pids or row["pid"]:
                    yield f"{row['id']} is stopped, but runs: {pids}, pid {row['pid']}"
            elif len(pids) != EACH or row["pid"] not in pids:
                yield f"{row['id']} with pid {row['pid']} runs as {pids}"
            elif row["port"] and not self.witness.listens(row["pid"], row["port"]):
                yield f"{row['id']} does not listen on {row['port']}"
        for id, pids in trees.items():
            yield f"{id} still runs: {pids}"
        for drone in self.drones:
            keepers = self.cluster.keepers(drone.state.name)
            if len(keepers) != 1:
                yield f"{drone.state.name} has keepers {keepers}"
        for pid in self.witness.zombies():
            yield f"{pid} is a zombie"
        for name in self.witness.leftovers({row["id"] for row in rows}):
            yield f"the directory for temporary files of {name} is left"

    def _once(self) -> Iterator[str]:
        """Whether release commands and builds ran as often as they may."""
        migrated = self.cluster.directory / "migrated"
        ran = Counter(migrated.read_text().split() if migrated.exists() else [])
        for release, count in ran.items():
            if release in self.names and count > self.attempts[self.names[release]]:
                yield f"the release command of {release} ran {count} times"
        for release in self.releases:
            if not ran[release.name]:
                yield f"the release command of {release.name} did not run"
        for drone in self.drones:
            place = drone.state / "caches" / "webapp" / ".home" / "built"
            for lock, count in Counter(place.read_text().split() if place.exists() else []).items():
                if count > self.builds[lock]:
                    yield f"{drone.state.name} built {lock} {count} times"

    def _fallen(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        for row in rows:
            before = self._restarts.get(row["id"], 0)
            self._restarts[row["id"]] = row["restarts"]
            if row["restarts"] < before:
                yield f"{row['id']} was started again {before} times before, and {row['restarts']} times now"

    def _registered(self, rows: list[dict[str, Any]]) -> list[str]:
        """Whether the port table has those that are ready, and each answers there."""
        roles = self.cluster.json("ports", "--long").values()
        table = [row for by_role in roles for own in by_role.values() for row in own]
        there = sorted((row["release"], row["drone"], row["port"]) for row in table)
        wanted = sorted((r["release"], r["drone"], r["port"]) for r in rows if r["port"] and r["state"] == "ready")
        if there != wanted:
            return [f"the port table has {there}, and ready are {wanted}"]
        known = {release.name: release for release in self.releases}
        answers = [(row, self._answer(row["port"])) for row in rows if row["port"] and row["state"] == "ready"]
        return [
            f"{row['id']} answers {answer}" for row, answer in answers if answer != _right(row, known[row["release"]])
        ]

    def all_registered(self) -> Callable[[str], bool]:
        """Whether an answer of the registry has all the ports that it should have now."""
        ready = {row["port"] for row in self.rows if row["port"] and row["state"] == "ready"}

        def right(body: str) -> bool:
            roles = json.loads(body).values()
            return {row["port"] for by_role in roles for rows in by_role.values() for row in rows} == ready

        return right

    def _answer(self, port: int) -> Any:
        try:
            return json.loads(get(f"127.0.0.1:{port}")[1])
        except (URLError, OSError) as error:
            return str(error)

    def judge_logs(self) -> None:
        """Whether the numbers that each process printed are there, from 0 on, each once."""
        printed: dict[tuple[str, int], list[int]] = {}
        for row in self._lines():
            pid, number = (int(word) for word in row["text"].split())
            printed.setdefault((row["id"], pid), []).append(number)
        for (id, pid), numbers in printed.items():
            assert numbers == list(range(len(numbers))), f"{id}, pid {pid} printed {numbers}"
        silent = [row for row in self.instances() if row["pid"] and (row["id"], row["pid"]) not in printed]
        assert not silent

    def _lines(self) -> Iterator[dict[str, Any]]:
        for role in (*ROLES, "run"):
            for drone in self.drones:
                rows = self.cluster.json("logs", "webapp", "--since", "0", "--role", role, "--drone", drone.state.name)
                yield from (row for row in rows if row["stream"] == "stdout")


def _right(row: dict[str, Any], release: Release) -> dict[str, Any]:
    return {
        "id": row["id"],
        "release": release.name,
        "mode": release.mode,
        "pid": row["pid"],
        "built": release.lock,
    }


def kill(pid: int, number: int) -> None:
    """Send a signal to one that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
