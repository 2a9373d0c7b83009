"""Apps say by their checks whether they are ready and well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, get
from tests.e2e.waiting import until

# Answers with the status that the file `status` names.
WEB = """
import os, pathlib, signal, socket, sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
handed = "LISTEN_FDS" in os.environ
listener = socket.socket(fileno=3) if handed else socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    with connection:
        if connection.recv(65536):
            status = pathlib.Path(DIRECTORY, "status").read_text()
            connection.sendall(f"HTTP/1.0 {status} Well\\r\\n\\r\\n{os.getpid()}".encode())
"""
ELSEWHERE = """
import os, socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], file=open(os.path.join(DIRECTORY, "ports"), "a"), flush=True)
time.sleep(600)
"""
TOML = """
[roles.http]
command = "exec python3 web.py"
check = {path = "/health", interval = 0.3, timeout = 1, failures = 2}

[roles.handed]
command = "exec python3 web.py"
socket = true

[roles.worker]
command = "exec sleep 600"
check = {command = "test ! -e DIRECTORY/ill", interval = 0.3, failures = 2}

[roles.lost]
command = "exec python3 elsewhere.py"
check = {deadline = 2}
"""


@pytest.fixture
def directory(cluster: Cluster) -> Path:
    place = cluster.directory / "told"
    place.mkdir()
    (place / "status").write_text("200")
    files = {"web.py": WEB, "elsewhere.py": ELSEWHERE, "deployd.toml": TOML}
    said = {
        name: text.replace("DIRECTORY/", f"{place}/").replace("DIRECTORY", repr(str(place)))
        for name, text in files.items()
    }
    cluster.repository("webapp", said).push("webapp")
    return place


def row(cluster: Cluster, role: str) -> dict[str, Any]:
    (found,) = [row for row in cluster.json("ps") if row["role"] == role]
    return dict(found)


def registered(cluster: Cluster, role: str) -> bool:
    return any(role in roles for roles in cluster.ports().values())


def test_who_does_not_pass_its_check_any_more_is_taken_out_and_started_again(cluster: Cluster, directory: Path) -> None:
    cluster.start_drone("d1", "--roles", "http,worker")
    cluster.deployctl("deploy", "webapp", "master")
    assert {row(cluster, role)["state"] for role in ("http", "worker")} == {"ready"}
    (directory / "status").write_text("500")
    until(lambda: not registered(cluster, "http"), "it leaves the port table")
    until(lambda: "2 checks in a row failed: status 500" in row(cluster, "http")["reason"], "the hub is told why")
    (directory / "ill").touch()
    failed = "2 checks in a row failed: exited with code 1"
    until(lambda: failed in row(cluster, "worker")["reason"], "the command's failure is noticed")
    assert row(cluster, "worker")["state"] != "ready"
    (directory / "status").write_text("204")
    (directory / "ill").unlink()
    until(lambda: row(cluster, "http")["state"] == "ready", "it is well again")
    until(lambda: row(cluster, "worker")["state"] == "ready", "the worker is, too")
    assert min(row(cluster, role)["restarts"] for role in ("http", "worker")) >= 1
    said = [line["text"] for line in cluster.json("logs", "webapp", "--role", "http") if line["stream"] == "deployd"]
    assert said[1:3] == ["2 checks in a row failed: status 500", "exited with code 0"]


def test_a_restart_of_an_app_that_is_handed_its_socket_refuses_no_connection(cluster: Cluster, directory: Path) -> None:
    cluster.start_drone("d1", "--roles", "handed")
    cluster.deployctl("deploy", "webapp", "master")
    port = row(cluster, "handed")["port"]
    _, before = get(f"127.0.0.1:{port}")
    cluster.deployctl("restart", row(cluster, "handed")["id"])
    seen = {before}
    until(lambda: seen.add(get(f"127.0.0.1:{port}")[1]) or len(seen) > 1, "another process answers")
    assert row(cluster, "handed")["port"] == port


def test_one_that_listens_elsewhere_is_told_where(cluster: Cluster, directory: Path) -> None:
    cluster.start_drone("d1", "--roles", "lost")
    failed = cluster.run_deployctl("deploy", "webapp", "master", "--timeout", "5")
    assert failed.returncode == 1
    ports = (directory / "ports").read_text().split()
    expected = "after 2 s (connection refused); it listens on 127.0.0.1:"
    assert any(expected + port in failed.stderr for port in ports), failed.stderr
