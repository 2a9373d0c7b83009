"""Faults of the ancestors that need a cluster of their own (test_ancestors.py has the table)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.conftest import require
from tests.e2e.apps import HELLO
from tests.e2e.cluster import Cluster, Repository, get
from tests.e2e.waiting import until

pytestmark = require("git")


def deployed(cluster: Cluster, files: dict[str, str], *options: str) -> Repository:
    repository = cluster.repository("webapp", files)
    repository.push("webapp")
    cluster.deployctl(*options, "deploy", "webapp", "master")
    return repository


def hello(cluster: Cluster, repository: Repository) -> bool:
    rows = cluster.ports().get(repository.head, {}).get("http", [])
    return [get(f"{row['host']}:{row['port']}") for row in rows] == [(200, "hello")]


@pytest.fixture
def open_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Nobody has a secret, and nobody was told where to listen."""
    made = Cluster(tmp_path, secret=None)
    try:
        made.daemon("registry", "registry", "--port", "0").start()
        made.daemon("hub", "hub", "--port", "0", "--registry", made.registry.amp).start()
        yield made
    finally:
        made.close()


def test_without_a_secret_nobody_on_another_machine_gets_in(open_cluster: Cluster) -> None:
    """Who is on this machine may do everything, and the log says so."""
    for daemon in (open_cluster.registry, open_cluster.hub):
        assert daemon.process is not None
        listening = psutil.Process(daemon.process.pid).net_connections("inet")
        assert {connection.laddr.ip for connection in listening if connection.status == psutil.CONN_LISTEN} == {
            "127.0.0.1"
        }
        assert "no secret" in daemon.text()
    open_cluster.start_drone("d1", "--", "python3", "http.py")
    assert hello(open_cluster, deployed(open_cluster, {"http.py": HELLO}))


def test_a_secret_that_looks_like_a_number_works_everywhere(tmp_path: Path) -> None:
    """As an option, which another language's parser would have made a number."""
    cluster, secret = Cluster(tmp_path, secret=None), ("--secret", "0123")
    try:
        cluster.daemon("registry", "registry", "--port", "0", "--interface", "127.0.0.1", *secret).start()
        registry = ("--registry", cluster.registry.amp)
        cluster.daemon("hub", "hub", "--port", "0", "--interface", "127.0.0.1", *registry, *secret).start()
        cluster.start_drone("d1", *secret, "--", "python3", "http.py")
        cluster.secret = "0123"
        assert hello(cluster, deployed(cluster, {"http.py": HELLO}, "--secret=0123"))
        for wrong in ("123", "83"):
            cluster.deployctl("--secret", wrong, "ps", code=4)
    finally:
        cluster.close()


def test_an_app_that_falls_again_and_again_is_started_ever_less_often(cluster: Cluster, tmp_path: Path) -> None:
    """It listens, so its deploy is done; that it then falls each time makes the pauses grow."""
    cluster.start_drone("d1", "--", "python3", "http.py")
    starts = tmp_path / "starts"
    note = f"import time\nopen({str(starts)!r}, 'a').write(str(time.monotonic()) + '\\n')\n"
    falling = HELLO.replace("while True:", "import threading\nthreading.Timer(0.3, os._exit, [1]).start()\nwhile True:")
    deployed(cluster, {"http.py": note + falling})
    until(lambda: len(starts.read_text().splitlines()) >= 3, "it was started three times")
    times = [float(line) for line in starts.read_text().splitlines()]
    first, second = (later - earlier for earlier, later in pairwise(times[:3]))
    # Each time it serves 0.3 s; the pauses are 0.5 and 1 s, or up to a fifth less, and longer on a busy machine.
    assert first >= 0.3 + 0.4
    assert second >= 0.3 + 0.8
    (row,) = until(lambda: [row for row in cluster.json("ps") if row["restarts"] >= 2], "the hub knows of them")
    assert "code 1" in row["reason"] or row["state"] == "ready"


def test_a_checkout_that_a_kill_left_half_made_is_not_taken_for_a_whole_one(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "python3", "http.py")
    files = {f"directory{number % 50}/file{number}": f"{number}\n" * 50 for number in range(3000)}
    repository = cluster.repository("webapp", files | {"http.py": HELLO})
    repository.push("webapp")
    place = cluster.daemons["d1"].state
    begun = until(
        lambda: [*place.rglob("tmp_objdir-*"), *place.rglob(".checkout-*")], "the drone fetches what was pushed"
    )
    cluster.daemons["d1"].kill()
    assert begun
    cluster.daemons["d1"].start()
    cluster.deployctl("deploy", "webapp", "master")
    assert hello(cluster, repository)
    (pid,) = cluster.processes("d1")
    checkout = Path(f"/proc/{pid}/cwd").readlink()
    there = {str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file()}
    assert there == set(repository.git("ls-files").splitlines())
    assert not [*place.rglob("tmp_objdir-*"), *place.rglob(".checkout-*")]


def test_the_rows_of_a_drone_that_is_gone_or_stands_still_fall_and_come_back_with_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start_core("--heartbeat", "0.3", "--timeout", "1")
        drone = cluster.start_drone("d1", "--", "python3", "http.py")
        repository = deployed(cluster, {"http.py": HELLO})
        table = cluster.ports()
        assert drone.process is not None
        os.kill(drone.process.pid, signal.SIGSTOP)
        until(lambda: cluster.ports() == {}, "its rows have fallen")
        os.kill(drone.process.pid, signal.SIGCONT)
        until(lambda: cluster.ports() == table, "its rows are back")
        drone.kill()
        until(lambda: cluster.ports() == {}, "its rows have fallen")
        drone.start()
        until(lambda: cluster.ports() == table, "its rows are back")
        assert hello(cluster, repository)
        assert len(cluster.processes()) == 1
    finally:
        cluster.close()
