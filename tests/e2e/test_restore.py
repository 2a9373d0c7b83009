"""The hub's state is put back from a backup: what it does not know runs on, until somebody ends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.apps import answering
from tests.e2e.cluster import Cluster, Repository, get
from tests.e2e.waiting import until

DATABASE = "hub.sqlite"


def put_back_all(state: Path, backup: Path) -> None:
    shutil.rmtree(state)
    shutil.copytree(backup, state)


def put_back_database(state: Path, backup: Path) -> None:
    for name in ("-wal", "-shm"):
        (state / (DATABASE + name)).unlink(missing_ok=True)
    shutil.copy(backup / DATABASE, state / DATABASE)


def deploy(cluster: Cluster, repository: Repository, text: str) -> str:
    """Push and deploy an app that answers ``text``; its address."""
    commit = repository.commit({"web.py": answering(repr(text))})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", commit)
    ((row,),) = cluster.ports()[commit].values()
    return f"{row['host']}:{row['port']}"


def states(cluster: Cluster) -> list[tuple[str, str]]:
    return [(row["release"], row["state"]) for row in cluster.json("ps")]


@pytest.mark.parametrize("restarts", [0, 3], ids=["at-once", "after-restarts"])
@pytest.mark.parametrize(
    ("put_back", "why"),
    [(put_back_all, "d1 has been told what this hub does not know"), (put_back_database, "its database is older")],
    ids=["all", "database"],
)
def test_a_restored_hub_stops_nothing(
    cluster: Cluster, tmp_path: Path, put_back: Callable[[Path, Path], None], why: str, restarts: int
) -> None:
    cluster.start_drone("d1", "--", "python3", "web.py")
    repository = cluster.repository("webapp", {})
    first = deploy(cluster, repository, "one")
    cluster.hub.stop()
    shutil.copytree(cluster.hub.state, tmp_path / "backup")
    cluster.hub.start()
    second = deploy(cluster, repository, "two")
    for _ in range(restarts):
        cluster.hub.kill()
        cluster.hub.start()
    before, epoch = sorted(cluster.processes()), cluster.json("status")["epoch"]
    cluster.hub.kill()
    put_back(cluster.hub.state, tmp_path / "backup")
    cluster.hub.start()

    until(lambda: states(cluster) == [("v1", "ready"), ("v2", "orphan")], "the second release is an orphan")
    assert sorted(cluster.processes()) == before
    assert (get(first), get(second)) == ((200, "one"), (200, "two"))
    assert cluster.json("status")["epoch"] != epoch
    assert cluster.hub.text().count("was restored from a backup") == 1
    assert f"was restored from a backup ({why}" in cluster.hub.text()

    # The restored hub is a hub as any other: it deploys beside what runs, ends the orphan, and outlives a kill.
    third = deploy(cluster, repository, "three")
    assert [get(address)[1] for address in (first, second, third)] == ["one", "two", "three"]
    assert set(before) < set(cluster.processes())
    (orphan,) = [row["id"] for row in cluster.json("ps") if row["state"] == "orphan"]
    cluster.deployctl("stop", orphan)
    epoch = cluster.json("status")["epoch"]
    cluster.hub.kill()
    cluster.hub.start()
    until(lambda: states(cluster) == [("v1", "ready"), ("v3", "ready")], "the orphan has ended and the rest is ready")
    assert (get(first), get(third)) == ((200, "one"), (200, "three"))
    assert len(cluster.processes()) == 2
    assert cluster.json("status")["epoch"] == epoch
