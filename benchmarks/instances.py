"""500 instances on one drone: what a start costs, what they cost while nothing happens, how soon an exit is seen.

The floor of a start is one process that spawns the same command with the same environment as often with
`os.posix_spawn`; both count the CPU time of whoever starts and of what is started. What is started is a `sleep`, which
does nothing that could hide a slow start.
The idle ones listen (a few lines of Perl, which is on every Debian) and are checked every five seconds.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.request import urlopen

from benchmarks.idle_memory import resident
from tests.e2e.cluster import BIN, Cluster
from tests.e2e.waiting import until

APPS, EACH = 5, 100
COUNT = APPS * EACH
FLOORS = 3
IDLE = 60.0
KILLS = 30
ROUNDS = 5
TICKS = os.sysconf("SC_CLK_TCK")
SLEEP = "exec sleep 1000000"
LISTEN = """\
exec perl -e 'use Socket; socket(S, PF_INET, SOCK_STREAM, 6); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in($ENV{PORT}, inet_aton($ENV{HOST}))) or die; listen(S, 16); while (accept(C, S)) { close C }'
"""
MANIFEST = """\
[roles.{role}]
command = '''{command}'''
count = {count}
"""
CHECK = """\
[roles.http.check]
kind = "tcp"
interval = 5
"""
FLOOR = """\
import os, sys, time
argv, count = sys.argv[2:], int(sys.argv[1])
null = os.open(os.devnull, os.O_RDWR)
actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
began = time.monotonic()
pids = [os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsid=True) for _ in range(count)]
print(time.monotonic() - began, time.process_time(), *pids, flush=True)
sys.stdin.read()
for pid in pids:
    os.kill(pid, 9)
for pid in pids:
    os.waitpid(pid, 0)
"""


def cpu(pids: Collection[int]) -> float:
    """The seconds of CPU that these have used so far; one that is gone counts nothing."""
    used = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        used += int(fields[11]) + int(fields[12])
    return used / TICKS


def exact_cpu(pids: Collection[int]) -> float:
    """The same of programs of one thread, which have used less than a clock tick."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def floor(command: str, environment: dict[str, str]) -> tuple[float, float]:
    """Milliseconds of CPU and of time for one start with nothing around it: the median of some tries."""
    tries = [floor_once(command, environment) for _ in range(FLOORS)]
    return statistics.median(cpu for cpu, _ in tries), statistics.median(wall for _, wall in tries)


def floor_once(command: str, environment: dict[str, str]) -> tuple[float, float]:
    argv = ["/bin/sh", "-c", command]
    program = [sys.executable, "-c", FLOOR, str(COUNT), *argv]
    spawner = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert spawner.stdin is not None
    assert spawner.stdout is not None
    wall, own, *pids = spawner.stdout.readline().split()
    until(lambda: all(settled(int(pid)) for pid in pids), "all of them sleep")
    children = exact_cpu([int(pid) for pid in pids])
    spawner.stdin.close()
    spawner.wait()
    spawner.stdout.close()
    return 1000 * (float(own) + children) / COUNT, 1000 * float(wall) / COUNT


def settled(pid: int) -> bool:
    """Whether it is what it should be, and sleeps."""
    return Path(f"/proc/{pid}/stat").read_text().startswith(f"{pid} (sleep) S")


class House:
    """One drone with its keeper, and what runs there."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.cluster = Cluster(directory)
        self.cluster.start_core()
        drone = self.cluster.start_drone("d1")
        assert drone.process is not None
        self.drone = drone.process.pid
        self.keeper = next(pid for pid in children_of(self.drone) if is_keeper(pid))

    @property
    def own(self) -> tuple[int, int]:
        return self.drone, self.keeper

    def memory(self) -> tuple[float, float]:
        return resident(self.drone), resident(self.keeper)

    def instances(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = self.cluster.json("ps")
        return rows

    def push(self, role: str, command: str, more: str = "") -> list[str]:
        """Push APPS apps, each with EACH instances of ``role``, and let the drone fetch them."""
        names = [f"app{number}" for number in range(APPS)]
        for name in names:
            manifest = MANIFEST.format(role=role, command=command, count=EACH) + more
            self.cluster.repository(name, {"deployd.toml": manifest}).push(name)
        spare = self.cluster.directory / "d1" / "spare"
        until(lambda: all(list(spare.glob(f"{name}/*")) for name in names), "the drone has fetched all")
        return names

    def deploy(self, names: list[str]) -> None:
        """All at once, until every instance is ready.

        The drone hears of them only once each was asked for: five starts of Python beside it are not what is measured.
        """
        command = [str(BIN / "deployctl"), "deploy", "--timeout", "300"]
        environment = self.cluster.deployctl_environment()
        os.kill(self.drone, signal.SIGSTOP)
        deploys = [
            subprocess.Popen([*command, name, "master"], env=environment, stdout=subprocess.DEVNULL) for name in names
        ]
        until(lambda: rest([each.pid for each in deploys]), "all have been asked for")
        os.kill(self.drone, signal.SIGCONT)
        for each in deploys:
            assert each.wait(300) == 0

    def retire(self, names: list[str]) -> None:
        for name in names:
            self.cluster.deployctl("retire", name, "master", "--timeout", "120")

    def close(self) -> None:
        self.cluster.close()


def rest(pids: Collection[int]) -> bool:
    """Whether each of them has done something, and now does nothing."""
    before = [cpu([pid]) for pid in pids]
    time.sleep(1)
    return all(before) and before == [cpu([pid]) for pid in pids]


def children_of(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]


def is_keeper(pid: int) -> bool:
    return b"deployd.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()


def spread(pids: Collection[int]) -> float:
    """Milliseconds between the first start of these and the last, for each of them."""
    started = [int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) for pid in pids]
    return 1000 * (max(started) - min(started)) / TICKS / (len(started) - 1)


def starts(directory: Path) -> list[str]:
    """What a start costs, each time beside its floor."""
    rounds = [started(directory / str(number)) for number in range(ROUNDS)]
    used, wall, least, quickest, drone, keeper = (statistics.median(column) for column in zip(*rounds, strict=True))
    return [
        f"{COUNT} times `{SLEEP}`, per start, median of {ROUNDS} (allowed: 3 times posix_spawn)",
        "",
        "| | CPU ms | of posix_spawn | ms | of posix_spawn |",
        "| --- | --- | --- | --- | --- |",
        f"| posix_spawn | {least:.2f} | 1.0 | {quickest:.2f} | 1.0 |",
        f"| drone and keeper | {used:.2f} | {used / least:.1f} | {wall:.2f} | {wall / quickest:.1f} |",
        "",
        f"With {COUNT} of them the drone has {drone:.0f} MB and its keeper {keeper:.0f} MB (allowed: 120).",
    ]


def started(directory: Path) -> tuple[float, ...]:
    """CPU and time of a start on a drone, of one without, and the memory of drone and keeper."""
    house = House(directory)
    try:
        names = house.push("idle-worker", SLEEP)
        before = cpu(house.own)
        house.deploy(names)
        own = cpu(house.own) - before
        pids = pids_of(house)
        assert len(pids) == COUNT
        used, wall = 1000 * (own + exact_cpu(pids)) / COUNT, spread(pids)
        memory = house.memory()
        environment = environment_of(pids[0])
        house.retire(names)
    finally:
        house.close()
    return (used, wall, *floor(SLEEP, environment), *memory)


def environment_of(pid: int) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if pair)
    return {name: value for name, _, value in pairs}


def pids_of(house: House) -> list[int]:
    """The processes of all instances, as their parent has them."""
    return [pid for pid in children_of(house.keeper) if settled(pid)]


def idle(directory: Path) -> list[str]:
    """What they cost while nothing happens, and how soon an exit is seen."""
    house = House(directory)
    try:
        names = house.push("http", LISTEN, CHECK)
        house.deploy(names)
        before, began = cpu(house.own), time.monotonic()
        time.sleep(IDLE)
        share = 100 * (cpu(house.own) - before) / (time.monotonic() - began)
        memory = house.memory()
        seen = exits(house)
    finally:
        house.close()
    return [
        f"{COUNT} listening instances with a tcp check every 5 s: drone and keeper use {share:.1f} % of a core over"
        f" {IDLE:.0f} s (allowed: 2), and have {memory[0]:.0f} and {memory[1]:.0f} MB (allowed: 120 in all).",
        "",
        f"From kill -9 of an instance until its row is gone from the registry, {len(seen)} times, milliseconds:"
        f" median {statistics.median(seen):.0f}, max {max(seen):.0f} (allowed: 50 for seeing it).",
    ]


def exits(house: House) -> list[float]:
    """Milliseconds from the end of a process until its row is gone, one after the other."""
    found = []
    for row in house.instances()[:KILLS]:
        commit, port = row["commit"], row["port"]
        url = f"http://{house.cluster.registry.http}/v1/ports/{commit}?app={row['app']}"
        began = time.perf_counter()
        os.kill(int(str(row["pid"])), 9)
        wait(lambda url=url, port=port: port not in ports_at(url))
        found.append(1000 * (time.perf_counter() - began))
        wait(lambda url=url: len(ports_at(url)) == EACH)
    return found


def ports_at(url: str) -> list[object]:
    with urlopen(url, timeout=10) as answer:
        table = json.load(answer)
    return [row["port"] for roles in table.values() for rows in roles.values() for row in rows]


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "the registry does not follow"


def run(directory: Path) -> list[str]:
    return [*starts(directory / "starts"), "", *idle(directory / "idle")]
