"""kill -9 of any daemon at any time, then a start: the state is what was acknowledged, nothing runs twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest

from tests.e2e.apps import HELLO
from tests.e2e.cluster import BIN, Cluster, Repository, get
from tests.e2e.printed import printed
from tests.e2e.waiting import until


def deployed(cluster: Cluster, *options: str) -> Repository:
    """One drone, one healthy release."""
    cluster.start_drone("d1", *options, "--", "python3", "web.py")
    repository = cluster.repository("webapp", {"web.py": HELLO})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    return repository


def healthy(cluster: Cluster, repository: Repository) -> bool:
    """One ready instance, one process, one row, and it answers."""
    rows = cluster.ports().get(repository.head, {}).get("http", [])
    if len(rows) != 1 or [row["state"] for row in cluster.json("ps")] != ["ready"]:
        return False
    return len(cluster.processes()) == 1 and get(f"{rows[0]['host']}:{rows[0]['port']}") == (200, "hello")


@pytest.mark.parametrize("kind", ["registry", "hub", "d1"])
def test_a_killed_daemon_comes_back_to_what_was(cluster: Cluster, kind: str) -> None:
    repository = deployed(cluster)
    table, releases, instances = cluster.ports(), cluster.json("releases", "webapp"), cluster.json("ps")
    cluster.daemons[kind].kill()
    cluster.daemons[kind].start()
    until(lambda: healthy(cluster, repository), "all is as it was")
    assert cluster.ports() == table
    assert cluster.json("releases", "webapp") == releases
    assert [row["id"] for row in cluster.json("ps")] == [row["id"] for row in instances]


def test_all_daemons_killed_at_once_come_back(cluster: Cluster) -> None:
    repository = deployed(cluster)
    table = cluster.ports()
    for daemon in cluster.daemons.values():
        daemon.kill()
    for daemon in cluster.daemons.values():
        daemon.launch()
    for daemon in cluster.daemons.values():
        until(daemon._ready, f"{daemon.kind} is back")
    until(lambda: healthy(cluster, repository), "all is as it was")
    assert cluster.ports() == table


def test_apps_serve_while_hub_and_registry_are_down(cluster: Cluster) -> None:
    deployed(cluster)
    ((row,),) = ([*roles["http"]] for roles in cluster.ports().values())
    cluster.registry.kill()
    cluster.hub.kill()
    assert get(f"{row['host']}:{row['port']}") == (200, "hello")
    # An app that crashes meanwhile is started again, at the same port, without them.
    (pid,) = cluster.processes()
    os.kill(pid, signal.SIGKILL)
    until(lambda: [p for p in cluster.processes() if p != pid], "it is started again")
    cluster.registry.start()
    cluster.hub.start()
    until(lambda: cluster.ports() and get(f"{row['host']}:{row['port']}") == (200, "hello"), "its row is back")


def test_a_crashed_app_is_started_again_with_its_id_and_port(cluster: Cluster) -> None:
    repository = deployed(cluster)
    (before,) = cluster.json("ps")
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: cluster.json("ps")[0]["pid"] not in (0, before["pid"]), "a new process")
    until(lambda: healthy(cluster, repository), "it serves again")
    (after,) = cluster.json("ps")
    assert (after["id"], after["port"], after["restarts"]) == (before["id"], before["port"], 1)


def test_stop_is_kept_over_restarts_of_everything_until_restart(cluster: Cluster) -> None:
    repository = deployed(cluster)
    (row,) = cluster.json("ps")
    cluster.deployctl("stop", row["id"])
    assert cluster.ports() == {}
    assert cluster.processes() == []
    for daemon in cluster.daemons.values():
        daemon.kill()
        daemon.start()
    until(lambda: [row["state"] for row in cluster.json("ps")] == ["stopped"], "still stopped")
    assert cluster.processes() == []
    cluster.deployctl("restart", row["id"])
    assert healthy(cluster, repository)
    assert cluster.json("ps")[0]["id"] == row["id"]


def test_retire_also_takes_down_what_a_returning_drone_still_runs(cluster: Cluster) -> None:
    deployed(cluster)
    cluster.daemons["d1"].kill()
    assert len(cluster.processes()) == 1
    cluster.deployctl("retire", "webapp", "v1")
    cluster.daemons["d1"].start()
    until(lambda: not cluster.processes(), "the process is gone")
    until(lambda: not cluster.ports(), "the row is gone")
    until(lambda: cluster.json("ps") == [], "nothing is left")


def test_a_drone_that_stops_takes_its_apps_with_it_or_keeps_them(cluster: Cluster) -> None:
    deployed(cluster, "--on-stop", "keep")
    (pid,) = cluster.processes()
    cluster.daemons["d1"].stop()
    assert cluster.processes() == [pid]
    cluster.daemons["d1"].start()
    until(lambda: [row["state"] for row in cluster.json("ps")] == ["ready"], "it is taken over")
    assert cluster.processes() == [pid]
    cluster.daemons["d1"]._arguments.remove("keep")
    cluster.daemons["d1"]._arguments.remove("--on-stop")
    cluster.daemons["d1"].stop()
    cluster.daemons["d1"].start()
    cluster.daemons["d1"].stop()
    assert cluster.processes() == []
    assert cluster.ports() == {}
    assert [row["state"] for row in cluster.json("drones")] == ["away"]


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_app_that_prints_goes_on_serving_without_its_drone(cluster: Cluster, end: str) -> None:
    """What it prints goes to its log meanwhile; a pipe to the drone would have broken."""
    cluster.start_drone("d1", "--on-stop", "keep", "--", "python3", "web.py")
    chatty = HELLO.replace("body =", 'print("asked", flush=True); print("oh", file=sys.stderr, flush=True); body =')
    cluster.repository("webapp", {"web.py": chatty}).push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    (row,) = cluster.json("ps")
    drone = cluster.daemons["d1"]
    getattr(drone, end)()
    for _ in range(3):
        assert get(f"{row['host']}:{row['port']}") == (200, "hello")
    assert cluster.processes() == [row["pid"]]
    # Two pipes: what comes out of them in one moment is in no order, and the log has it a moment later.
    everything = sorted([b"asked", b"oh"] * 3)
    until(lambda: sorted(printed(drone.state, row["id"]).split()) == everything, "all that it printed is in its log")
    os.kill(row["pid"], signal.SIGKILL)
    until(lambda: not cluster.processes(), "nothing is left of it")


def test_a_hub_killed_in_mid_deploy_finishes_it_when_it_is_back(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "python3", "web.py")
    slow = "import select\nselect.select([], [], [], 3)\n" + HELLO
    repository = cluster.repository("webapp", {"web.py": slow})
    repository.push("webapp")
    deploy = subprocess.Popen(
        [str(BIN / "deployctl"), "deploy", "webapp", "master"],
        env=cluster.deployctl_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: cluster.processes(), "the app is starting")
    cluster.hub.kill()
    cluster.hub.start()
    out, error = deploy.communicate(timeout=60)
    assert deploy.returncode == 0, (out, error)
    assert repository.head in cluster.ports()
    assert [row["state"] for row in cluster.json("releases", "webapp")] == ["deployed"]


def test_a_hub_that_does_not_come_back_in_mid_deploy_is_exit_3(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "sleep", "1000")
    cluster.repository("webapp", {"a": "b"}).push("webapp")
    deploy = subprocess.Popen(
        [str(BIN / "deployctl"), "--timeout", "5", "deploy", "webapp", "master"],
        env=cluster.deployctl_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: cluster.processes(), "the app is starting")
    cluster.hub.kill()
    _, error = deploy.communicate(timeout=60)
    assert deploy.returncode == 3, error
    assert error.strip()


def test_two_deploys_at_once_both_end_right(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "python3", "web.py")
    repository = cluster.repository("webapp", {"web.py": HELLO})
    commits = [repository.commit({"x": str(number)}) for number in range(3)]
    repository.push("webapp")
    deploys = [
        subprocess.Popen([str(BIN / "deployctl"), "deploy", "webapp", commit], env=cluster.deployctl_environment())
        for commit in [*commits, commits[0]]
    ]
    assert [deploy.wait(60) for deploy in deploys] == [0, 0, 0, 0]
    assert set(cluster.ports()) == set(commits)
    assert len(cluster.processes()) == 3


def test_a_new_hub_stops_nothing_and_lists_what_it_does_not_know(cluster: Cluster) -> None:
    """The hub's state is lost; only an explicit command ends what runs."""
    deployed(cluster)
    cluster.hub.kill()
    shutil.rmtree(cluster.hub.state)
    cluster.hub.start()
    until(lambda: [row["state"] for row in cluster.json("ps")] == ["orphan"], "the instance is listed")
    assert len(cluster.processes()) == 1
    cluster.deployctl("stop", cluster.json("ps")[0]["id"])
    until(lambda: not cluster.processes(), "it is ended")


def test_deploying_again_is_a_no_op_that_says_so(cluster: Cluster) -> None:
    deployed(cluster)
    (before,) = cluster.json("ps")
    assert "already" in cluster.deployctl("deploy", "webapp", "master")
    assert cluster.json("ps") == [before]


def test_a_failed_need_names_the_drone_that_is_away_and_later_joiners_do_not_get_it(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "python3", "web.py")
    cluster.start_drone("d2", "--", "python3", "web.py").stop()
    repository = cluster.repository("webapp", {"web.py": HELLO})
    repository.push("webapp")
    done = cluster.run_deployctl("deploy", "webapp", "master", "--timeout", "3")
    assert done.returncode == 1
    assert "d2" in done.stderr
    assert "away" in done.stderr
    until(lambda: not cluster.processes(), "what started is stopped")
    cluster.daemons["d2"].start()
    assert cluster.json("ps") == [] or {row["state"] for row in cluster.json("ps")} == {"stopped"}
    # Needing one is met at once; and forgetting makes `all` possible.
    cluster.daemons["d2"].stop()
    cluster.deployctl("deploy", "webapp", "master", "--need", "1")
    assert repository.head in cluster.ports()
    cluster.deployctl("drones", "--forget", "d2")
    assert "already" in cluster.deployctl("deploy", "webapp", "master")
    # One that joins later and matches gets it.
    cluster.start_drone("d3", "--", "python3", "web.py")
    until(lambda: len(cluster.ports()[repository.head]["http"]) == 2, "the late joiner runs it")
