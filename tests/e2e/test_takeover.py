"""Apps outlive their drone: whatever it dies of, the next one goes on with the same processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.apps import HELLO
from tests.e2e.asking import Asking
from tests.e2e.cluster import Cluster, Repository, get
from tests.e2e.waiting import until

PROCFILE = "http: exec python3 web.py\nworker: exec python3 -c 'import signal; signal.pause()'\n"


def deployed(cluster: Cluster, *options: str) -> Repository:
    cluster.start_drone("d1", *options)
    repository = cluster.repository("webapp", {"web.py": HELLO, "Procfile": PROCFILE})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    return repository


def instances(cluster: Cluster) -> list[dict[str, Any]]:
    """Each with what must stay as it is."""
    kept = ("id", "state", "pid", "port", "restarts")
    return sorted(({name: row[name] for name in kept} for row in cluster.json("ps")), key=lambda row: str(row["id"]))


def kill(cluster: Cluster) -> None:
    cluster.daemons["d1"].kill()


def stop(cluster: Cluster) -> None:
    cluster.daemons["d1"].stop()


@pytest.mark.parametrize("end", [kill, stop])
def test_what_runs_goes_on_under_the_next_drone(cluster: Cluster, end: Callable[[Cluster], None]) -> None:
    deployed(cluster, "--on-stop", "keep")
    before, table, keepers = instances(cluster), cluster.ports(), cluster.keepers()
    address = next(f"{row['host']}:{row['port']}" for roles in table.values() for row in roles["http"])
    stands = Asking(cluster.registry.http, lambda answer: json.loads(answer) == table, path="/v1/ports")
    with Asking(address, lambda answer: answer == "hello") as load, stands:
        for _ in range(2):
            end(cluster)
            cluster.daemons["d1"].start()
            until(lambda: instances(cluster) == before, "all is as it was")
            assert cluster.ports() == table
    assert (load.failures, stands.failures) == ([], []), "not for a moment did it not serve, nor was its row away"
    assert load.count > 20
    assert stands.count > 20
    assert cluster.keepers() == keepers
    assert sorted(cluster.processes()) == sorted(row["pid"] for row in before)
    # What ends under the next drone is seen by it, as if it were its own.
    os.kill(before[0]["pid"], signal.SIGKILL)
    until(lambda: instances(cluster)[0]["restarts"] == 1, "it is started again")
    cluster.daemons["d1"]._arguments.remove("keep")
    cluster.daemons["d1"]._arguments.remove("--on-stop")
    stop(cluster)
    cluster.daemons["d1"].start()
    stop(cluster)
    assert cluster.processes() == []
    until(lambda: not cluster.keepers(), "the keeper ends, too")


def test_what_ended_while_there_was_no_drone_is_started_again_with_its_code_told(cluster: Cluster) -> None:
    repository = deployed(cluster)
    (http, _) = instances(cluster)
    kill(cluster)
    os.kill(http["pid"], signal.SIGTERM)
    until(lambda: http["pid"] not in cluster.processes(), "it is gone")
    cluster.daemons["d1"].start()
    until(lambda: instances(cluster)[0]["state"] == "ready", "it serves again")
    (after, _) = instances(cluster)
    assert (after["id"], after["port"], after["restarts"]) == (http["id"], http["port"], 1)
    (row,) = cluster.ports()[repository.head]["http"]
    assert get(f"{row['host']}:{row['port']}") == (200, "hello")
    assert "exited with code 0" in cluster.daemons["d1"].text()


def test_a_keeper_that_is_killed_costs_a_restart_and_no_more(cluster: Cluster) -> None:
    deployed(cluster)
    before, (keeper,) = instances(cluster), cluster.keepers()
    os.kill(keeper, signal.SIGKILL)
    until(lambda: [row["restarts"] for row in instances(cluster)] == [1, 1], "all are started again")
    until(lambda: {row["state"] for row in instances(cluster)} == {"ready"}, "all are ready")
    after = instances(cluster)
    assert [(row["id"], row["port"]) for row in after] == [(row["id"], row["port"]) for row in before]
    assert sorted(cluster.processes()) == sorted(row["pid"] for row in after)
    assert not {row["pid"] for row in before} & {row["pid"] for row in after}
