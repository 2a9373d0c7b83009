"""An app cannot read its drone through /proc, though both are of one user; nor can other users read the state."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import deployd
import twisted
from tests.conftest import require
from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT, SECRET, Cluster, Daemon, get
from tests.e2e.waiting import until

pytestmark = [require("git")]

NOBODY = 65534
PACKAGES = f"{Path(deployd.__file__).parents[1]}:{Path(twisted.__file__).parents[1]}"
ENVIRONMENT = PYTHON_ENVIRONMENT | {"PYTHONPATH": PACKAGES}
# Serves what it can find out about a process: GET /PID/what.
SPY = """
import ctypes, os, signal, socket, sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
libc = ctypes.CDLL(None, use_errno=True)


def look(pid, what):
    if what == "ptrace":
        if libc.ptrace(16, int(pid), 0, 0) == 0:
            os.waitpid(int(pid), 0x40000000)
            libc.ptrace(17, int(pid), 0, 0)
            return "attached"
        return "refused" if ctypes.get_errno() == 1 else f"errno {ctypes.get_errno()}"
    try:
        if what == "fd":
            return f"{len(os.listdir(f'/proc/{pid}/fd'))} files"
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return "opened" if what == "mem" else file.read().decode(errors="replace")
    except PermissionError:
        return "refused"


listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    with connection:
        request = connection.recv(65536).split()
        if not request:  # somebody only looks whether we listen
            continue
        _, pid, what = request[1].decode().split("/", 2)
        body = look(pid, what).encode()
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
"""
PRIVATE = ("environ", "mem", "maps", "fd", "auxv", "task/{pid}/environ", "ptrace")


def as_nobody() -> tuple[str, ...]:
    """What to put before a command so that it is not root's; root may read everything."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def python_of_nobody() -> str:
    """A Python that other users may run, and start again from itself as a drone does for its keeper; "" for none."""
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import deployd.drone.daemon'], check=True)"
    for python in (str(BIN / "python"), "/usr/bin/python3"):
        command = [*as_nobody(), python, "-c", again]
        try:
            done = subprocess.run(command, cwd="/", env=ENVIRONMENT, capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return ""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster in a directory that the drone's user may enter, as it may not pytest's."""
    directory = Path(tempfile.mkdtemp(prefix="deployd-proc-"))
    directory.chmod(0o755)
    made = Cluster(directory)
    try:
        made.start_core()
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)


@pytest.fixture
def drone(cluster: Cluster) -> Daemon:
    """A drone of a user who is not root."""
    python = python_of_nobody()
    if not python:
        pytest.skip("needs setpriv, and a Python that other users may run")
    place = cluster.directory / "d1"
    place.mkdir()
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    arguments = ("--hub", cluster.hub.amp, "--name", "d1", "--", "python3", "http.py")
    made = cluster.daemon("d1", "drone", *arguments, prefix=(*as_nobody(), python))
    made._environment |= ENVIRONMENT
    return made.start()


def test_an_app_of_the_drones_user_cannot_read_the_drone(cluster: Cluster, drone: Daemon) -> None:
    """While it can read any other process of that user, or this would prove nothing."""
    repository = cluster.repository("spy", {"http.py": SPY})
    repository.push("spy")
    cluster.deployctl("deploy", "spy", "master")
    (row,) = cluster.ports()[repository.head]["http"]
    address = f"{row['host']}:{row['port']}"
    assert drone.process is not None
    assert Path(f"/proc/{cluster.processes()[0]}").stat().st_uid != 0
    neighbour = subprocess.Popen([*as_nobody(), "sleep", "60"], cwd="/", env={"PATH": os.environ["PATH"], "X": "y"})
    try:
        # Until setpriv has become another user's sleep, it is root's.
        until(lambda: "X=y" in get(address, f"/{neighbour.pid}/environ")[1], "a neighbour can be read")
        for what in PRIVATE[1:4]:
            assert get(address, f"/{neighbour.pid}/{what}")[1] != "refused"
    finally:
        neighbour.kill()
        neighbour.wait()
    for pid in (drone.process.pid, *cluster.keepers("d1")):
        for what in PRIVATE:
            assert get(address, f"/{pid}/{what.format(pid=pid)}") == (200, "refused"), what
    assert SECRET not in get(address, f"/{drone.process.pid}/cmdline")[1]
    cluster.deployctl("ps")


def test_state_directories_are_their_users_alone(cluster: Cluster, drone: Daemon) -> None:
    """Also one that was there before with other rights."""
    for daemon in (cluster.registry, cluster.hub, drone):
        assert stat.S_IMODE(daemon.state.stat().st_mode) == 0o700, daemon.kind
    assert stat.S_IMODE((drone.state / "identity").stat().st_mode) == 0o600
    drone.stop()
    drone.state.chmod(0o755)
    drone.start()
    assert stat.S_IMODE(drone.state.stat().st_mode) == 0o700
