"""The walk-through of propagit and seaport, in deployd's own commands, on real git, processes and sockets."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.e2e.apps import HELLO, SAY_AND_HTTP
from tests.e2e.cluster import BIN, EXAMPLES, PYTHON_ENVIRONMENT, Cluster, get
from tests.e2e.waiting import until


def start_two_drones(cluster: Cluster) -> None:
    cluster.start_drone("say", "--role", "say", "--", "python3", "say.py")
    cluster.start_drone("web", "--role", "http", "--", "python3", "web.py")


def one(rows: list[dict]) -> str:
    (row,) = rows
    return f"{row['host']}:{row['port']}"


def test_a_push_becomes_processes_beside_the_earlier_ones(cluster: Cluster) -> None:
    start_two_drones(cluster)
    repository = cluster.repository("webapp", SAY_AND_HTTP)
    first = repository.head
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", first)
    table = cluster.ports()
    assert set(table) == {first}
    assert set(table[first]) == {"http", "say"}
    assert get(one(table[first]["http"])) == (200, "beep boop")
    assert get(one(table[first]["http"]), "/HUG") == (200, "HUG ALL HUMANS")

    second = repository.commit({"say.py": SAY_AND_HTTP["say.py"].replace("beep boop", "beepity boop!")})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", second)
    both = cluster.ports()
    assert set(both) == {first, second}
    assert both[first] == table[first]
    assert get(one(both[second]["http"])) == (200, "beepity boop!")
    assert get(one(both[first]["http"])) == (200, "beep boop")

    cluster.deployctl("retire", "webapp", first)
    assert cluster.ports() == {second: both[second]}
    states = {row["commit"]: row["state"] for row in cluster.json("releases", "webapp")}
    assert states == {first: "retired", second: "deployed"}
    until(lambda: len(cluster.processes()) == 2, "the first release's processes are gone")


def test_reading_the_port_table_needs_no_secret_and_changing_anything_does(cluster: Cluster) -> None:
    start_two_drones(cluster)
    repository = cluster.repository("webapp", SAY_AND_HTTP)
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    environment = PYTHON_ENVIRONMENT
    command = [str(BIN / "deployctl"), "--registry", cluster.registry.amp, "--json", "ports"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert repository.head in done.stdout
    status, body = get(cluster.registry.http, f"/v1/ports/{repository.head}")
    assert status == 200
    assert '"say"' in body
    denied = subprocess.run(
        [str(BIN / "deployctl"), "--hub", cluster.hub.amp, "deploy", "webapp", "master"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert denied.returncode == 4
    refused = repository.run_git("push", f"http://{cluster.hub.http}/other", "master")
    assert refused.returncode != 0
    assert [row["app"] for row in cluster.json("apps")] == ["webapp"]


def test_deploy_in_a_work_tree_knows_app_and_commit(cluster: Cluster) -> None:
    cluster.start_drone("web", "--", "python3", "web.py")
    repository = cluster.repository("w", {"web.py": HELLO})
    repository.git("remote", "add", "deployd", cluster.git_url("team/webapp"))
    repository.git("push", "deployd", "master")
    out = cluster.deployctl("deploy", cwd=repository.path)
    assert "team/webapp" in out
    assert set(cluster.ports()) == {repository.head}


@require("node")
@pytest.mark.parametrize("name", ["beep-boop-python", "beep-boop-node", "beep-boop-procfile"])
def test_the_examples_run(cluster: Cluster, name: str) -> None:
    if name == "beep-boop-procfile":
        cluster.start_drone("all")
    else:
        program, ending = ("node", "js") if name == "beep-boop-node" else ("python3", "py")
        for role in ("say", "http"):
            cluster.start_drone(role, "--role", role, "--", program, f"{role}.{ending}")
    files = {path.name: path.read_text() for path in (EXAMPLES / name).iterdir()}
    repository = cluster.repository("webapp", files)
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "HEAD")
    address = one(cluster.ports()[repository.head]["http"])
    assert get(address)[1].strip() == "beep boop"
    assert get(address, "/HUG")[1].strip() == "HUG ALL HUMANS"


def test_daemonized_twistd_works(cluster: Cluster, tmp_path: Path) -> None:
    """The drone as a daemon in the background, with a pid file, ended by its pid."""
    state, pidfile = tmp_path / "background", tmp_path / "drone.pid"
    command = [str(BIN / "twistd"), "--pidfile", str(pidfile), "--logfile", str(tmp_path / "drone.log")]
    command += ["deployd-drone", "--hub", cluster.hub.amp, "--name", "background", "--state-dir", str(state)]
    environment = PYTHON_ENVIRONMENT | {"DEPLOYD_SECRET": str(cluster.secret)}
    subprocess.run([*command, "--", "python3", "web.py"], env=environment, cwd=tmp_path, timeout=30, check=True)
    try:
        until(lambda: (state / "addresses.json").exists(), "the drone is accepted")
        repository = cluster.repository("webapp", {"web.py": HELLO})
        repository.push("webapp")
        cluster.deployctl("deploy", "webapp", "master")
        assert set(cluster.ports()) == {repository.head}
        (program,) = state.rglob("checkouts/**/web.py")
        assert program.stat().st_mode & 0o777 == 0o644
        (pid,) = cluster.processes()
        assert "Umask:\t0022" in Path(f"/proc/{pid}/status").read_text()
    finally:
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        until(lambda: not pidfile.exists(), "the daemon has ended")
    until(lambda: not cluster.ports(), "its rows are freed")


def test_twist_works(cluster: Cluster, tmp_path: Path) -> None:
    command = [str(BIN / "twist"), "deployd-drone", "--hub", cluster.hub.amp, "--name", "twisted"]
    command += ["--state-dir", str(tmp_path / "twisted"), "--", "python3", "web.py"]
    environment = PYTHON_ENVIRONMENT | {"DEPLOYD_SECRET": str(cluster.secret)}
    with (tmp_path / "twist.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until(lambda: (tmp_path / "twisted" / "addresses.json").exists(), "the drone is accepted")
        assert [row["name"] for row in cluster.json("drones")] == ["twisted"]
    finally:
        process.terminate()
        process.wait(20)
