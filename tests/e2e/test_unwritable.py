"""A drone that cannot write where it is goes on with its hub."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.e2e.waiting import until


def test_a_drone_that_cannot_say_where_it_is_stays_with_its_hub(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start_core()
        drone = cluster.daemon("d1", "drone", "--hub", cluster.hub.amp, "--name", "d1")
        (drone.state / "addresses.json.new").mkdir(parents=True)
        drone.launch()
        until(lambda: "Is a directory" in drone.text(), "the drone has said what it cannot write")
        assert "trying on" not in drone.text(), drone.text()
        found = [("d1", "connected")]
        until(lambda: [(row["name"], row["state"]) for row in cluster.json("drones")] == found, "it is connected")
    finally:
        cluster.close()
