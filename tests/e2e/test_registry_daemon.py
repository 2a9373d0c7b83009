"""The registry as a process, however it is started and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT, Daemon
from tests.e2e.waiting import until

OPTIONS = ("--port", "0", "--interface", "127.0.0.1")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon("registry", tmp_path / "registry", list(OPTIONS), [], "beep boop")
    yield daemon
    if daemon.running:
        daemon.kill()


def healthy(http: str) -> dict[str, Any]:
    with urlopen(f"http://{http}/healthz", timeout=10) as answer:
        return dict(json.load(answer))


def test_twistd_in_the_foreground_says_where_it_listens_and_ends_orderly(registry: Daemon) -> None:
    registry.start()
    assert healthy(registry.http)["ok"]
    assert (registry.state.stat().st_mode & 0o777) == 0o700
    registry.stop()
    assert registry.addresses() == {}


def test_a_kill_leaves_nothing_that_stops_the_next_start(registry: Daemon) -> None:
    registry.start()
    first = healthy(registry.http)
    registry.kill()
    registry.start()
    assert healthy(registry.http) == first


def test_twistd_as_a_daemon(tmp_path: Path) -> None:
    state, pidfile = tmp_path / "registry", tmp_path / "pid"
    command = [str(BIN / "twistd"), f"--pidfile={pidfile}", f"--logfile={tmp_path}/log", "deployd-registry"]
    environment = PYTHON_ENVIRONMENT | {"DEPLOYD_SECRET": "x"}
    subprocess.run([*command, *OPTIONS, "--state-dir", str(state)], cwd=tmp_path, env=environment, check=True)
    addresses = state / "addresses.json"
    until(addresses.exists, "the registry is ready")
    found = json.loads(addresses.read_text())
    try:
        assert found["pid"] == int(pidfile.read_text())
        assert healthy(found["http"])["ok"]
    finally:
        os.kill(found["pid"], signal.SIGTERM)
    until(lambda: not addresses.exists() and not pidfile.exists(), "the registry has ended")


def test_twist(tmp_path: Path) -> None:
    command = [str(BIN / "twist"), "deployd-registry", *OPTIONS, "--state-dir", str(tmp_path / "registry")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=PYTHON_ENVIRONMENT)
    addresses = tmp_path / "registry" / "addresses.json"
    try:
        until(addresses.exists, "the registry is ready")
        assert healthy(json.loads(addresses.read_text())["http"])["ok"]
    finally:
        process.terminate()
        process.wait(30)
    assert not addresses.exists()


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_busy_port_is_one_line_and_a_failure(registry: Daemon, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        registry._arguments += [option, str(taken.getsockname()[1])]
        registry.launch()
        assert registry.process is not None
        assert registry.process.wait(30) != 0
    said = [line for line in registry.text().splitlines() if "address already in use" in line]
    assert said
    assert "Traceback" not in registry.text()
    assert registry.addresses() == {}


def test_a_twin_in_the_same_state_directory_is_refused(registry: Daemon, tmp_path: Path) -> None:
    registry.start()
    twin = Daemon("registry", registry.state, list(OPTIONS), [], "beep boop")
    twin.log = tmp_path / "twin.log"
    twin.launch()
    assert twin.process is not None
    assert twin.process.wait(30) != 0
    assert "another daemon holds the state directory" in twin.text()
    assert healthy(registry.http)["ok"]
