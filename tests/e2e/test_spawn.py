"""Several processes of a role, and processes that people add."""

from __future__ import annotations

import pytest

from tests.e2e.apps import HELLO
from tests.e2e.cluster import Cluster, Repository
from tests.e2e.waiting import until

TOML = """
[roles.http]
count = 3
"""
LOOP = "import os, time; print(os.environ['KEY'], os.getcwd(), flush=True); time.sleep(1000)"


@pytest.fixture
def repository(cluster: Cluster) -> Repository:
    for name in ("d1", "d2"):
        cluster.start_drone(name)
    made = cluster.repository("webapp", {"Procfile": "http: exec python3 web.py\n", "web.py": HELLO})
    made.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    return made


def states(cluster: Cluster, role: str = "run") -> dict[str, str]:
    return {row["id"]: row["state"] for row in cluster.json("ps") if row["role"] == role}


def test_a_role_that_counts_three_has_three_ports_and_spawn_gives_one_more(
    cluster: Cluster, repository: Repository
) -> None:
    first = repository.head
    commit = repository.commit({"deployd.toml": TOML})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", commit, "--drone", "d1")
    rows = [row for row in cluster.json("ps") if row["commit"] == commit]
    assert [(row["role"], row["state"]) for row in rows] == [("http", "ready")] * 3
    assert sorted(row["port"] for row in rows) == [row["port"] for row in cluster.ports()[commit]["http"]]
    assert len({row["port"] for row in rows}) == 3
    cluster.deployctl("stop", rows[1]["id"])
    assert len(cluster.ports()[commit]["http"]) == 2
    cluster.deployctl("restart", rows[1]["id"])
    assert len(cluster.ports()[commit]["http"]) == 3
    said = cluster.deployctl("spawn", "webapp", "v1", "--drone", "d2", "--role", "http", "--", "python3", "web.py")
    assert said.endswith(" runs on d2\n")
    assert len(cluster.ports()[first]["http"]) == 3


def test_what_is_spawned_runs_until_it_is_stopped_or_its_release_goes(cluster: Cluster, repository: Repository) -> None:
    spawned = cluster.json("spawn", "webapp", "v1", "--env", "KEY=value", "--", "python3", "-c", LOOP)
    assert [(row["drone"], row["state"]) for row in spawned["instances"]] == [("d1", "ready"), ("d2", "ready")]
    ids = {row["drone"]: row["id"] for row in spawned["instances"]}
    assert states(cluster) == dict.fromkeys(ids.values(), "ready")
    assert list(cluster.ports()[repository.head]) == ["http"]

    cluster.daemons["d1"].kill()
    cluster.hub.kill()
    cluster.hub.start()
    cluster.daemons["d1"].start()
    until(lambda: states(cluster) == dict.fromkeys(ids.values(), "ready"), "all are there again")
    assert [row["restarts"] for row in cluster.json("ps") if row["role"] == "run"] == [0, 0]

    cluster.deployctl("stop", ids["d1"])
    assert states(cluster) == {ids["d1"]: "stopped", ids["d2"]: "ready"}
    said = cluster.deployctl("restart", ids["d1"])
    assert said == f"{ids['d1']} runs anew\n"
    cluster.deployctl("retire", "webapp", "v1")
    assert cluster.json("ps") == []
    cluster.deployctl("deploy", "webapp", "v1")
    assert states(cluster) == {}


def test_what_does_not_come_up_fails_with_its_last_lines_and_can_be_stopped(
    cluster: Cluster, repository: Repository
) -> None:
    done = cluster.run_deployctl("spawn", "webapp", "v1", "--drone", "d1", "--", "python3", "nosuchfile.py")
    assert done.returncode == 1
    assert "does not come up: " in done.stderr
    assert "  | python3: can't open file" in done.stderr
    (id,) = states(cluster)
    assert cluster.deployctl("stop", id) == f"{id} is stopped\n"
    cluster.deployctl("deploy", "webapp", "v1", "--drone", "d1")
    done = cluster.run_deployctl("spawn", "webapp", "v1", "--drone", "d7", "--", "true")
    assert (done.returncode, done.stderr) == (2, "deployctl: there is no drone 'd7'; `deployctl drones` lists them\n")
