"""Whatever of git's processes is killed while drones fetch, a deploy comes to its end by itself."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from threading import Event, Thread

from tests.e2e.apps import HELLO
from tests.e2e.cluster import BIN, Cluster, Daemon, Repository
from tests.e2e.waiting import until

FILES, SIZE = 60, 20_000
COMMAND = ("--", "python3", "web.py")
DRONES = ("d1", "d2", "d3")


def test_a_deploy_survives_whatever_is_killed_while_drones_fetch(cluster: Cluster) -> None:
    """The hub's git workers, then two drones', then the hub, for drones of which two have damaged mirrors."""
    drones = [cluster.daemon(name, "drone", "--hub", cluster.hub.amp, "--name", name, *COMMAND) for name in DRONES]
    for drone in drones:
        drone.launch()
    repository = cluster.repository("webapp", {"web.py": HELLO} | _content(0))
    _push(repository, "t0")
    for drone in drones:
        drone.wait()
    with _killing(cluster.hub) as killed:
        cluster.deployctl("deploy", "webapp", "t0")
    assert killed

    repository.commit(_content(1))
    _push(repository, "t1")
    with _killing(drones[0]) as killed, _killing(drones[1]):
        cluster.deployctl("deploy", "webapp", "t1")
    assert killed

    repository.commit(_content(2))
    _push(repository, "t2")
    mirrors = [drone.state / "mirrors" / "webapp.git" for drone in drones]
    for mirror, suffix in zip(mirrors, ("pack", "idx"), strict=False):
        for path in (mirror / "objects/pack").glob(f"*.{suffix}"):
            path.chmod(0o600)
            os.truncate(path, path.stat().st_size // 2)
    path = cluster.hub.state / "repositories" / "webapp.git"
    for pid in _workers(cluster.hub):
        os.kill(pid, signal.SIGSTOP)
    command = [str(BIN / "deployctl"), "deploy", "webapp", "t2"]
    deploying = subprocess.Popen(command, env=cluster.deployctl_environment(), stderr=subprocess.DEVNULL)
    until(lambda: f"deploy webapp v3 {repository.head}" in cluster.hub.text(), "the deploy is saved")
    select.select([], [], [], 0.3)
    cluster.hub.kill()
    cluster.hub.start()
    deploying.wait(60)
    until(lambda: len(cluster.processes()) == 9, "the deploy goes on by itself")
    for place in (path, *mirrors):
        checked = repository.run_git("-C", str(place), "fsck", "--full", "--strict")
        assert checked.returncode == 0, checked.stderr


def _content(seed: int) -> dict[str, str]:
    """So much that a fetch and a checkout of it take some time."""
    chance = Random(seed)
    return {f"d{number % 20}/f{number}": chance.randbytes(SIZE // 2).hex() for number in range(FILES)}


def _push(repository: Repository, tag: str) -> None:
    """A tag, since drones fetch ahead what comes to a branch."""
    repository.push("webapp", f"master:refs/tags/{tag}")


@contextmanager
def _killing(daemon: Daemon) -> Iterator[list[int]]:
    """kill -9 git workers of ``daemon`` that are on a repository; gives the ids of those that were killed."""
    killed: list[int] = []
    over, chance = Event(), Random(os.getpid())

    def kill() -> None:
        while len(killed) < 2 and not over.wait(chance.uniform(0.005, 0.05)):
            for pid in _workers(daemon):
                with suppress(OSError):
                    if any("webapp.git" in str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

    thread = Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def _workers(daemon: Daemon) -> list[int]:
    assert daemon.process is not None
    pid = daemon.process.pid
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if b"deployd.git.work.worker" in _words(child)]


def _words(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
