"""Another program on an app's port: it is never in the port table."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e.apps import HELLO
from tests.e2e.cluster import BIN, Cluster, Repository, get
from tests.e2e.waiting import stays, until

# The first process only starts the second, which listens, and lives on without it.
WITH_WORKER = """
import os, signal
if os.fork() == 0:
    exec(SERVER)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    signal.pause()
""".replace("SERVER", repr(HELLO))

# Says which port it has, and takes it once it is free.
LATE = (
    """
import os, pathlib, select
pathlib.Path("port.new").write_text(os.environ["PORT"])
os.rename("port.new", "port")
while not os.path.exists("go"):
    select.select([], [], [], 0.02)
"""
    + HELLO
)


class Strangers:
    """Servers of this process on ports of apps."""

    def __init__(self) -> None:
        self.opened = ExitStack()

    def take(self, host: str, port: int) -> socket.socket:
        """The port, as soon as it can be had."""
        return until(lambda: self._taken(host, port), f"port {port} is free", 10)

    def _taken(self, host: str, port: int) -> socket.socket | None:
        with suppress(OSError):
            return self.opened.enter_context(socket.create_server((host, port)))
        return None


@pytest.fixture
def strangers() -> Iterator[Strangers]:
    made = Strangers()
    yield made
    made.opened.close()


@pytest.fixture
def repository(cluster: Cluster) -> Repository:
    cluster.start_drone("d1", "--", "python3", "web.py")
    return cluster.repository("webapp", {"web.py": HELLO})


def ports(cluster: Cluster) -> list[int]:
    """As readers of the registry see them."""
    _, body = get(cluster.registry.http, "/v1/ports")
    return [row["port"] for roles in json.loads(body).values() for rows in roles.values() for row in rows]


def deploy(cluster: Cluster, repository: Repository) -> int:
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    (port,) = ports(cluster)
    return port


def gone_for_good(cluster: Cluster, port: int, watched: float = 2.0) -> None:
    until(lambda: port not in ports(cluster), f"{port} is gone from the table")
    stays(lambda: port not in ports(cluster), f"{port} is not in the table again", watched)


def has_another(cluster: Cluster, port: int) -> None:
    (other,) = until(lambda: ports(cluster), "it has a port of its own again")
    assert other != port
    assert get(f"127.0.0.1:{other}") == (200, "hello")


def test_who_binds_the_port_of_an_app_that_was_killed_is_not_in_the_table(
    cluster: Cluster, repository: Repository, strangers: Strangers
) -> None:
    port = deploy(cluster, repository)
    (pid,) = cluster.processes()
    os.kill(pid, signal.SIGKILL)
    strangers.take("127.0.0.1", port)
    gone_for_good(cluster, port)
    has_another(cluster, port)


def test_who_takes_the_port_over_from_an_app_that_lives_on_is_not_in_the_table(
    cluster: Cluster, repository: Repository, strangers: Strangers
) -> None:
    repository.commit({"web.py": WITH_WORKER})
    port = deploy(cluster, repository)
    os.kill(max(cluster.processes()), signal.SIGKILL)
    strangers.take("127.0.0.1", port)
    gone_for_good(cluster, port)
    has_another(cluster, port)
    assert "is held by another process" in cluster.daemons["d1"].text()


def test_an_app_whose_listener_is_gone_is_started_again(cluster: Cluster, repository: Repository) -> None:
    repository.commit({"web.py": WITH_WORKER})
    port = deploy(cluster, repository)
    os.kill(max(cluster.processes()), signal.SIGKILL)
    until(lambda: not ports(cluster), "the row is gone")
    until(lambda: ports(cluster), "the app is started again")
    assert get(f"127.0.0.1:{ports(cluster)[0]}") == (200, "hello")
    assert f"nothing listens on port {port} any more" in cluster.daemons["d1"].text()


def test_who_was_on_the_port_first_keeps_the_app_out_of_the_table_until_it_leaves(
    cluster: Cluster, repository: Repository, strangers: Strangers
) -> None:
    commit = repository.commit({"web.py": LATE})
    repository.push("webapp")
    command = [str(BIN / "deployctl"), "--timeout", "60", "deploy", "webapp", commit]
    deploying = subprocess.Popen(command, env=cluster.deployctl_environment())
    checkout = until(lambda: _said_port(cluster), "it has said its port")
    port = int((checkout / "port").read_text())
    stranger = strangers.take("127.0.0.1", port)

    def reason() -> str:
        (line,) = cluster.json("ps")
        return str(line.get("reason", ""))

    until(lambda: reason() == f"port {port} is held by another process (pid {os.getpid()})", "the reason is told")
    assert ports(cluster) == []
    stranger.close()
    (checkout / "go").touch()
    until(lambda: ports(cluster) == [port], "the app is in the table")
    assert get(f"127.0.0.1:{port}") == (200, "hello")
    assert deploying.wait(60) == 0


def _said_port(cluster: Cluster) -> Path | None:
    """The checkout of the app that has; there may be another process for a moment, while it is started."""
    for pid in cluster.processes():
        with suppress(OSError):
            checkout = Path(f"/proc/{pid}/cwd").readlink()
            if (checkout / "port").exists():
                return checkout
    return None
