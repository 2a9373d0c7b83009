"""An app that takes too much hurts only itself: beside it another one serves on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployd.processes.delegation import find
from tests.e2e.apps import HELLO
from tests.e2e.cluster import Cluster, get
from tests.e2e.test_full_disk import MOUNT, SmallDiskDaemon, can_mount
from tests.e2e.waiting import until

# Each ends by itself before the machine would feel it, should nothing limit it.
GREEDY = {
    "memory": """
        import time
        time.sleep(1.5)
        held = []
        for _ in range(100):
            held.append(b"x" * (4 << 20))
            time.sleep(0.05)
        time.sleep(600)
    """,
    "processes": """
        import os, time
        time.sleep(1.5)
        for _ in range(60):
            try:
                if os.fork() == 0:
                    time.sleep(600)
            except OSError as error:
                print("cannot fork:", error, flush=True)
                break
        time.sleep(600)
    """,
    "disk": """
        import os, time
        time.sleep(1.5)
        with open(os.environ["TMPDIR"] + "/large", "wb") as file:
            try:
                for _ in range(60):
                    file.write(b"x" * (1 << 20))
                    file.flush()
            except OSError as error:
                print(error, flush=True)
        time.sleep(600)
    """,
}
LIMITS = {"memory": '"64M"', "processes": "20", "disk": '"20M"'}
CONTROLLERS = {"memory": "memory", "processes": "pids"}


def script(what: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in GREEDY[what].splitlines())


def beside(cluster: Cluster, what: str, *options: str) -> None:
    """An app that exceeds its limit of ``what`` is on a drone with another one."""
    cluster.start_drone("d1", *options)
    deploy_hello(cluster)
    role = (
        f'[roles.eater]\ncommand = "exec python3 eat.py"\nport = false\n[roles.eater.limits]\n{what} = {LIMITS[what]}\n'
    )
    greedy = cluster.repository("greedy", {"eat.py": script(what), "deployd.toml": role})
    greedy.push("greedy")
    cluster.deployctl("deploy", "greedy", "master")


def deploy_hello(cluster: Cluster) -> None:
    cluster.repository("hello", {"web.py": HELLO, "Procfile": "http: exec python3 web.py\n"}).push("hello")
    cluster.deployctl("deploy", "hello", "master")


def reason(cluster: Cluster) -> str:
    (row,) = cluster.json("ps", "--app", "greedy")
    return str(row["reason"])


def unharmed(cluster: Cluster) -> None:
    (row,) = cluster.json("ps", "--app", "hello")
    assert (row["state"], row["restarts"]) == ("ready", 0)
    (port,) = next(iter(cluster.ports().values()))["http"]
    assert get(f"{port['host']}:{port['port']}") == (200, "hello")


def test_memory_is_the_kernels_to_limit(cluster: Cluster) -> None:
    needs("memory")
    beside(cluster, "memory")
    # Once it is started again there is none.
    said = until(lambda: reason(cluster), "it has ended")
    assert said == "used more than its 64M of memory: was ended by SIGKILL"
    unharmed(cluster)


def test_processes_are_the_kernels_to_limit(cluster: Cluster) -> None:
    needs("pids")
    beside(cluster, "processes")
    until(lambda: "cannot fork" in cluster.deployctl("logs", "greedy"), "it cannot fork")
    assert reason(cluster) == ""
    unharmed(cluster)


def test_groups_outlive_a_drone_that_is_killed_and_go_with_the_app(cluster: Cluster) -> None:
    top = needs("pids").parent
    drone = cluster.start_drone("d1")
    files = {
        "web.py": HELLO,
        "Procfile": "http: exec python3 web.py\n",
        "deployd.toml": "[roles.http.limits]\nprocesses = 20\n",
    }
    cluster.repository("hello", files).push("hello")
    cluster.deployctl("deploy", "hello", "master")
    (row,) = cluster.json("ps")
    (group,) = top.glob(f"deployd-*/{row['id']}")
    assert (group / "cgroup.procs").read_text() == f"{row['pid']}\n"
    left = group.with_name("http-left")
    left.mkdir()

    drone.kill()
    drone.start()
    until(lambda: cluster.json("ps") == [row], "it has the app")
    assert (group / "cgroup.procs").read_text() == f"{row['pid']}\n"
    assert not left.exists()
    cluster.deployctl("stop", row["id"])
    until(lambda: not group.parent.exists(), "its group is gone")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("memory", " of memory, more than its 64M"),
        ("processes", " processes, more than its 20"),
        ("disk", " on the disk, more than its 20M"),
    ],
)
def test_without_groups_the_drone_watches(cluster: Cluster, what: str, said: str) -> None:
    beside(cluster, what, "--cgroup", "none")
    until(lambda: said in reason(cluster), "it was ended")
    unharmed(cluster)


def test_on_a_full_disk_whoever_has_filled_it_goes(cluster: Cluster) -> None:
    place = cluster.directory / "d1"
    place.mkdir()
    if not can_mount(place):
        pytest.skip("needs root and mount namespaces")
    mount = ["unshare", "--mount", "sh", "-c", MOUNT, "200m", str(place)]
    hub = ["--hub", cluster.hub.amp, "--name", "d1"]
    cluster.daemons["d1"] = SmallDiskDaemon("drone", place, hub, mount, cluster.secret)
    cluster.daemons["d1"].start()
    deploy_hello(cluster)
    eat = script("disk").replace("range(60)", "range(300)")
    files = {"eat.py": eat, "Procfile": "worker: exec python3 eat.py\n"}
    cluster.repository("greedy", files).push("greedy")
    cluster.deployctl("deploy", "greedy", "master")
    until(lambda: "the disk is full" in reason(cluster), "it was ended")
    unharmed(cluster)


def test_status_says_what_is_in_force(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--cgroup", "none")
    limits = "rlimits, watched memory and processes and disk"
    assert cluster.json("status")["limits"] == {limits: "d1"}
    assert cluster.json("drones")[0]["limits"] == limits


def needs(controller: str) -> Path:
    """Where groups of that controller are made."""
    groups = find(f"deployd-test-{os.getpid()}")
    try:
        if controller not in groups.tops:
            pytest.skip(f"the {controller} controller of cgroups is not delegated to this user here")
        return groups.tops[controller]
    finally:
        groups.clean(())
