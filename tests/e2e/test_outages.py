"""Nobody who asks an app learns that what started it, and what knows of it, is away."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.e2e.asking import Asking
from tests.e2e.cluster import Cluster, get
from tests.e2e.errands import deploy
from tests.e2e.misfortunes import end_keeper, pause
from tests.e2e.village import Village, kill
from tests.e2e.waiting import until

pytestmark = require("git")

HOST = "shop.example"
# The registry gives up a silent drone after one second, so all this is long.
OUTAGE = 60.0 if os.environ.get("DEPLOYD_SOAK") else 6.0


@pytest.fixture
def village(tmp_path: Path) -> Iterator[Village]:
    cluster = Cluster(tmp_path)
    try:
        cluster.start_core("--heartbeat", "0.3", "--timeout", "1")
        made = Village(cluster, random.Random(4), 2)
        try:
            with made.deed("the first deploy"):
                deploy(made)
            yield made
            made.close()
        finally:
            made.drop()
    finally:
        cluster.close()


def says(port: int) -> dict[str, Any]:
    """What the app there says of itself, nothing if none is there."""
    try:
        return dict(json.loads(get(f"127.0.0.1:{port}")[1]))
    except OSError:
        return {}


def crash(row: dict[str, Any], pid: int, fault: Callable[[], None]) -> int:
    """The pid of its next process after the fault, which serves at the same port."""
    fault()
    until(lambda: says(row["port"]).get("pid") not in (None, pid), "it serves again")
    assert says(row["port"])["id"] == row["id"]
    return int(says(row["port"])["pid"])


def test_apps_serve_crash_and_restart_while_hub_and_registry_are_away_and_drones_die(village: Village) -> None:
    router = village.cluster.start_router("r1")
    (release,) = village.releases
    village.cluster.deployctl("route", "set", HOST, "webapp:http", release.name)
    https = {row["drone"]: row for row in village.rows if row["port"]}
    before = village.pids()
    steady = f"127.0.0.1:{https['d2']['port']}"
    mine = https["d1"]

    def right(body: str) -> bool:
        return bool(json.loads(body)["release"] == release.name)

    with Asking(router.http, right, HOST) as visitor, Asking(steady, right) as neighbour, village.deed("an outage"):
        end = time.monotonic() + OUTAGE
        village.cluster.hub.kill()
        village.cluster.registry.kill()
        pid = crash(mine, mine["pid"], lambda: kill(mine["pid"], signal.SIGKILL))
        for drone in village.drones:
            drone.kill()
            drone.launch()
        pid = crash(mine, pid, lambda: end_keeper(village, village.drones[0]))
        pause(end - time.monotonic())
        village.cluster.registry.launch()
        village.cluster.hub.launch()
    assert visitor.failures == []
    assert neighbour.failures == []
    assert min(visitor.count, neighbour.count) > OUTAGE
    after = village.pids()
    assert after.pop(mine["id"]) == (pid, 2)
    others = {row["id"] for row in village.rows if row["drone"] == "d2"}
    assert {id: after[id] for id in others} == {id: before[id] for id in others}
    assert [restarts for id, (_, restarts) in after.items() if id not in others] == [1]
    village.judge_logs()


def test_after_a_reboot_all_is_there_with_its_config_and_builds_before_the_hub_is(village: Village) -> None:
    (release,) = village.releases
    drone = village.drones[0]
    rows = [row for row in village.rows if row["drone"] == "d1"]
    with village.deed("a reboot"):
        village.cluster.hub.kill()
        village.cluster.registry.kill()
        drone.kill()
        for pid in [*village.cluster.keepers("d1"), *village.witness.of(drone)]:
            kill(pid, signal.SIGKILL)
        until(lambda: village.witness.of(drone) == [], "nothing runs")
        drone.launch()
        (port,) = (row["port"] for row in rows if row["port"])
        until(lambda: says(port), "it serves")
        until(lambda: len(village.witness.of(drone)) == 4, "all of it runs, once")
        said = says(port)
        assert (said["release"], said["mode"], said["built"]) == (release.name, release.mode, release.lock)
        village.cluster.registry.launch()
        village.cluster.hub.launch()
    assert {(row["id"], row["port"]) for row in rows} <= {(row["id"], row["port"]) for row in village.rows}
    village.judge_logs()
