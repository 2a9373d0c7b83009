"""The walk-through on five machines: hub, registry, two drones and a client, each with an address of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.e2e.apps import SAY_AND_HTTP
from tests.e2e.cluster import Cluster
from tests.e2e.namespaces import Network, possible
from tests.e2e.waiting import until

HOSTS = ["hub", "registry", "d1", "d2", "client"]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Cluster, Network]]:
    if os.environ.get("DEPLOYD_REQUIRE_ALL") != "1" and (os.geteuid() != 0 or not possible()):
        pytest.skip("needs root and network namespaces")
    network, cluster = Network(HOSTS), Cluster(tmp_path)
    try:
        network.build()
        cluster.client_prefix = list(network.prefix("client"))
        fast = ("--heartbeat", "1", "--timeout", "3")
        place = ("--advertise", network.address("registry"))
        cluster.daemon(
            "registry", "registry", "--port", "6000", *fast, *place, prefix=network.prefix("registry")
        ).start()
        registry = ("--registry", f"{network.address('registry')}:6000")
        place = ("--advertise", network.address("hub"))
        cluster.daemon("hub", "hub", "--port", "6001", *registry, *place, prefix=network.prefix("hub")).start()
        yield cluster, network
    finally:
        try:
            cluster.close()
        finally:
            network.destroy()


def curl(network: Network, address: str, path: str = "/") -> str:
    command = [*network.prefix("client"), "curl", "-s", "--max-time", "20", f"http://{address}{path}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def drone(cluster: Cluster, network: Network, name: str, *command: str) -> None:
    hub = ("--hub", f"{network.address('hub')}:6001", "--name", name)
    cluster.daemon(name, "drone", *hub, *command, prefix=network.prefix(name)).start()


@require("ip", "curl")
def test_the_walk_through_on_five_machines(machines: tuple[Cluster, Network]) -> None:
    cluster, network = machines
    drone(cluster, network, "d1", "--role", "say", "--", "python3", "say.py")
    drone(cluster, network, "d2", "--role", "http", "--", "python3", "web.py")
    repository = cluster.repository("webapp", SAY_AND_HTTP)
    first = repository.head
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", first)
    table = cluster.ports()
    (say,), (http,) = table[first]["say"], table[first]["http"]
    assert (say["host"], http["host"]) == (network.address("d1"), network.address("d2"))
    assert curl(network, f"{http['host']}:{http['port']}") == "beep boop"
    assert curl(network, f"{http['host']}:{http['port']}", "/HUG") == "HUG ALL HUMANS"

    # A cut link: the rows of the lost drone go after the timeout, and are back once it is healed.
    network.cut("d1")
    until(lambda: set(cluster.ports()[first]) == {"http"}, "the lost drone's row is freed")
    network.heal("d1")
    until(lambda: cluster.ports() == table, "the row is back", 60)
    assert curl(network, f"{http['host']}:{http['port']}") == "beep boop"

    # A reboot: the machine and all that ran on it are gone at once; then it comes back.
    cluster.daemons["d2"].kill()
    for pid in cluster.keepers("d2") + cluster.processes("d2"):
        os.kill(pid, signal.SIGKILL)
    until(lambda: set(cluster.ports().get(first, {})) == {"say"}, "the rebooting drone's row is freed")
    cluster.daemons["d2"].start()
    until(lambda: cluster.ports() == table, "it is back as it was", 60)
    assert curl(network, f"{http['host']}:{http['port']}", "/HUG") == "HUG ALL HUMANS"

    # And a machine that lost its disk comes back under a new identity only once the old one is forgotten.
    cluster.daemons["d1"].stop()
    until(lambda: not cluster.keepers("d1"), "its keeper has ended, too")
    shutil.rmtree(cluster.daemons["d1"].state)
    cluster.daemons["d1"].launch()
    process = cluster.daemons["d1"].process
    assert process is not None
    assert process.wait(30) != 0
    cluster.deployctl("drones", "--forget", "d1")
    cluster.daemons["d1"].start()
    until(lambda: set(cluster.ports().get(first, {})) == {"http", "say"}, "it got the deployed release")
