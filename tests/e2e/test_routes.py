"""The commands of the routes' guide, on real daemons: what they say is so when they return."""

from __future__ import annotations

import signal
import subprocess

from tests.conftest import require
from tests.e2e.apps import answering
from tests.e2e.cluster import BIN, Cluster, Repository, get
from tests.e2e.waiting import until

pytestmark = require("git")

HOST = "shop.example"


def releases(cluster: Cluster, count: int, *drones: str) -> Repository:
    """Releases v1, v2, ... of an app that answers with its release."""
    for drone in drones:
        cluster.start_drone(drone, "--", "python3", "http.py")
    repository = cluster.repository("webapp", {"http.py": answering('os.environ["RELEASE"]')})
    for number in range(count):
        repository.commit({"number": str(number)})
        repository.push("webapp")
        cluster.deployctl("deploy", "webapp", repository.head)
    return repository


def seen(router: str, calls: int = 30) -> set[str]:
    answers = [get(router, host=HOST) for _ in range(calls)]
    assert {code for code, _ in answers} == {200}, answers
    return {body for _, body in answers}


def states(cluster: Cluster) -> dict[str, str]:
    return {row["release"]: row["state"] for row in cluster.json("releases", "webapp")}


def test_half_and_half_back_on_again_and_down(cluster: Cluster) -> None:
    releases(cluster, 3, "d1")
    first, second = (cluster.start_router(name) for name in ("r1", "r2"))
    cluster.deployctl("route", "set", HOST, "webapp:http", "v1")
    cluster.deployctl("route", "set", HOST, "webapp:http", "v1=50", "v2=50")
    assert seen(first.http) == seen(second.http) == {"v1", "v2"}
    assert "2 routers follow" in cluster.deployctl("rollback", HOST)
    assert seen(first.http) == seen(second.http) == {"v1"}

    cluster.deployctl("promote", HOST, "v3", "--steps", "50,100", "--every", "600")
    assert seen(first.http) == {"v1", "v3"}
    cluster.deployctl("pause", HOST)
    (row,) = cluster.json("route", "show", HOST)
    assert row["promotion"]["paused"]
    cluster.deployctl("resume", HOST)
    cluster.deployctl("abort", HOST)
    assert seen(second.http) == {"v1"}
    assert [row["what"] for row in cluster.json("route", "show", "--history")][-2:] == ["promote", "abort"]

    cluster.deployctl("retire", "webapp", "v1", code=1)
    cluster.deployctl("pin", "webapp", "v2")
    cluster.deployctl("retire", "webapp", "v2", code=1)
    cluster.deployctl("unpin", "webapp", "v2")
    cluster.deployctl("route", "set", HOST, "webapp:http", "v3")
    cluster.deployctl("retire", "webapp", "v1", "--timeout", "60")
    assert seen(first.http) == {"v3"}
    assert states(cluster) == {"v1": "retired", "v2": "deployed", "v3": "deployed"}
    rows = {row["release"]: row["goes"] for row in cluster.json("retire", "--unused", "--dry-run")["releases"]}
    assert rows == {"v2": True, "v3": False}
    cluster.deployctl("retire", "--unused", "--timeout", "60")
    assert states(cluster) == {"v1": "retired", "v2": "retired", "v3": "deployed"}


def test_a_router_that_hangs_is_named_and_follows_later(cluster: Cluster) -> None:
    releases(cluster, 2, "d1")
    good, bad = cluster.start_router("good"), cluster.start_router("bad")
    cluster.deployctl("route", "set", HOST, "webapp:http", "v1")
    assert bad.process is not None
    bad.process.send_signal(signal.SIGSTOP)
    try:
        ran = cluster.run_deployctl("route", "set", HOST, "webapp:http", "v2", "--timeout", "2")
        assert ran.returncode == 1
        assert "bad: " in ran.stderr
        assert "good: " not in ran.stderr
        assert seen(good.http) == {"v2"}
    finally:
        bad.process.send_signal(signal.SIGCONT)
    until(lambda: get(bad.http, host=HOST) == (200, "v2"), "the other one follows too")


def test_a_machine_is_emptied_and_used_again(cluster: Cluster) -> None:
    releases(cluster, 1, "d1", "d2")
    router = cluster.start_router("r1")
    cluster.deployctl("route", "set", HOST, "webapp:http", "v1")
    assert "d1 is empty" in cluster.deployctl("drain", "d1", "--timeout", "60")
    assert {row["drone"] for row in cluster.json("ps")} == {"d2"}
    assert seen(router.http) == {"v1"}
    assert "last ready" in cluster.run_deployctl("drain", "d2").stderr
    cluster.deployctl("undrain", "d1")
    until(lambda: [row["state"] for row in cluster.json("ps")] == ["ready", "ready"], "both run again")
    cluster.deployctl("drain", "d9", code=2)


def test_what_is_emptied_or_retired_over_a_kill_of_the_hub_is_gone_when_the_command_says_so(cluster: Cluster) -> None:
    releases(cluster, 2, "d1", "d2")
    cluster.start_router("r1")
    for command in (("drain", "d1", "--force"), ("retire", "webapp", "v1")):
        environment = cluster.deployctl_environment()
        running = subprocess.Popen([str(BIN / "deployctl"), *command, "--timeout", "60"], env=environment)
        until(lambda command=command: _begun(cluster, command[0]), f"the {command[0]} is saved")
        cluster.hub.kill()
        cluster.hub.start()
        assert running.wait(90) == 0
        left = cluster.processes("d1") if command[0] == "drain" else cluster.json("ps", "--commit", "v1")
        assert left == []


def _begun(cluster: Cluster, what: str) -> bool:
    return any(row["what"] == what for row in cluster.json("events", "-n", "5"))
