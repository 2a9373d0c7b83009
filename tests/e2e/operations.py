"""What a day brings: things done to a cluster under load, in an order that chance chooses."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.cluster import BIN, Cluster, Daemon
from tests.e2e.judging import Deed, Story
from tests.e2e.load import Record, Running
from tests.e2e.waiting import until

HOST = "shop.example"
APP = (Path(__file__).parent / "deployed" / "app.py").read_text()
MOST_RELEASES = 4
# Requests, of which there are more than a hundred a second.
SOME = 50


class Town:
    """A cluster with two routers, an app of two releases behind a route, and a load on it."""

    def __init__(self, cluster: Cluster, chance: random.Random, drones: int, *command: str, roles: int = 1) -> None:
        self.cluster = cluster
        self.chance = chance
        self.roles = roles
        self.drones = [f"d{number}" for number in range(1, drones + 1)]
        with ThreadPoolExecutor() as pool:
            drones = [pool.submit(cluster.start_drone, name, *command) for name in self.drones]
            # One serves by itself, one has workers.
            routers = [pool.submit(cluster.start_router, *each) for each in (("ra",), ("rb", "--workers", "2"))]
            self.routers = [router.result() for router in routers]
            for drone in drones:
                drone.result()

    def open(self, files: dict[str, str], weights: dict[str, int]) -> None:
        """Deploy as many releases as have ``weights``, and route to them."""
        self.repository = self.cluster.repository("webapp", files)
        self.releases: list[str] = []
        for _ in weights:
            self._deploy()
        self.weights = weights
        self.story = Story(frozenset(weights))
        self._set(weights)

    @contextmanager
    def under_load(self, *options: str) -> Iterator[None]:
        """At the end of the block the load ends and is judged; what failed in the block comes first."""
        addresses = [router.http for router in self.routers]
        self.load = Running(self.cluster.directory, HOST, addresses, *options)
        try:
            self.load.until_asked(SOME)
            yield
            self.load.until_asked(SOME)
            records = self.load.end()
        finally:
            self.load.drop()
        self.records: list[Record] = records
        self.story.judge(records)

    # What is known of it.

    def instances(self) -> list[dict[str, Any]]:
        return list(self.cluster.json("ps"))

    def settled(self) -> bool:
        """Every drone is there, every instance of a release that is to stay is ready."""
        drones = {row["name"]: row["state"] for row in self.cluster.json("drones")}
        rows = self.instances()
        wanted = len(self.releases) * len(self.drones) * self.roles
        return set(drones.values()) == {"connected"} and [row["state"] for row in rows] == ["ready"] * wanted

    def settle(self, what: str) -> None:
        until(self.settled, f"all is ready again after: {what}")

    def _deploy(self) -> str:
        commit = self.repository.commit({"number": str(self.chance.random())})
        self.repository.push("webapp")
        self.cluster.deployctl("deploy", "webapp", commit)
        (release,) = (row["release"] for row in self.cluster.json("releases", "webapp") if row["commit"] == commit)
        self.releases.append(release)
        return str(release)

    def _set(self, weights: dict[str, int], *options: str) -> None:
        shares = [f"{release}={weight}" for release, weight in weights.items()]
        self.cluster.deployctl("route", "set", HOST, "webapp:http", *shares, *options)
        self.weights = weights

    def _unrouted(self) -> list[str]:
        return [release for release in self.releases if release not in self.weights]

    def _read_weights(self) -> dict[str, int]:
        (row,) = self.cluster.json("route", "show", HOST)
        self.weights = {share["release"]: share["weight"] for share in row["shares"] if share["weight"]}
        return self.weights

    # Deeds.

    def deploy(self) -> None:
        if len(self.releases) >= MOST_RELEASES:
            self.retire()
        with self.story.deed("deploy"):
            self._deploy()

    def route(self, weights: dict[str, int]) -> None:
        with self.story.deed(f"route set {weights}") as deed:
            self._set(weights)
            deed.releases = frozenset(weights)

    def set_route(self) -> None:
        most = min(3, len(self.releases))
        releases = self.chance.sample(self.releases, self.chance.randint(1, most))
        self.route({release: self.chance.randint(1, 100) for release in releases})

    def roll_back(self) -> None:
        """A new release gets everything, and loses it again."""
        new = self._new()
        self.route({new: 1})
        with self.story.deed("rollback") as deed:
            self.cluster.deployctl("rollback", HOST)
            deed.releases = frozenset(self._read_weights())
        assert new not in self.weights

    def _new(self) -> str:
        """A release without weight."""
        if not self._unrouted():
            self.deploy()
        return self.chance.choice(self._unrouted())

    def retire(self) -> None:
        """The oldest that may go; at once after it lost its weight, if need be."""
        if not self._unrouted():
            self.route({self.chance.choice(self.releases[1:]): 1})
        release = self._unrouted()[0]
        with self.story.deed(f"retire {release}"):
            self.cluster.deployctl("retire", "webapp", release)
        self.releases.remove(release)

    def retire_unused(self) -> None:
        with self.story.deed("retire --unused"):
            self.cluster.deployctl("retire", "--unused")
        rows = self.cluster.json("releases", "webapp")
        self.releases = [row["release"] for row in rows if row["state"] == "deployed"]
        assert set(self.weights) <= set(self.releases)

    def drain(self) -> None:
        drone = self.chance.choice(self.drones)
        with self.story.deed(f"drain {drone}"):
            self.cluster.deployctl("drain", drone)
            assert self.cluster.processes(drone) == []
        with self.story.deed(f"undrain {drone}"):
            self.cluster.deployctl("undrain", drone)
            self.settle("undrain")

    def drain_amid_a_kill(self) -> None:
        """What a planned stop waits for dies meanwhile: a router, the registry, or the hub that leads it."""
        drone, victim = self.chance.choice(self.drones), self.chance.choice(["hub", "registry", "ra", "rb"])
        daemon = self.cluster.daemons[victim]
        router = self.routers.index(daemon) if daemon in self.routers else None
        with self.story.deed(f"drain {drone}, amid it kill -9 of {victim}", router) as deed:
            command = [str(BIN / "deployctl"), "--timeout", "60", "drain", drone]
            environment, silent = self.cluster.deployctl_environment(), subprocess.DEVNULL
            draining = subprocess.Popen(command, env=environment, stdout=silent, stderr=silent)
            self.load.until_asked(self.chance.randint(1, SOME))
            if router is not None:
                deed.kills.append(time.monotonic())
            daemon.kill()
            daemon.start()
            if draining.wait(60) != 0:
                # The hub was gone before it heard of it.
                assert victim == "hub"
                self.settle("kill -9 of the hub")
                self.cluster.deployctl("drain", drone)
            self.cluster.deployctl("undrain", drone)
            self.settle("undrain")

    def kill_app(self) -> None:
        row = self.chance.choice([row for row in self.instances() if row["release"] in self.weights])
        with self.story.deed(f"kill -9 of {row['id']}, {row['release']} on {row['drone']}") as deed:
            deed.kills.append(time.monotonic())
            os.kill(row["pid"], signal.SIGKILL)
            until(lambda: self._pid_of(row["id"]) not in (0, row["pid"]), "a new process")
            self.settle("kill -9 of an app")

    def _pid_of(self, instance: str) -> int:
        return int(next(row["pid"] for row in self.instances() if row["id"] == instance))

    def restart_app(self) -> None:
        row = self.chance.choice([row for row in self.instances() if row["release"] in self.weights])
        with self.story.deed(f"restart {row['id']}, {row['release']} on {row['drone']}"):
            self.cluster.deployctl("restart", row["id"])

    def restart_router(self) -> None:
        with self._router("stop and start") as (router, _):
            router.stop()
            router.start()

    def kill_router(self) -> None:
        with self._router("kill -9 and start") as (router, deed):
            deed.kills.append(time.monotonic())
            router.kill()
            router.start()

    def change_while_a_router_is_away(self) -> None:
        """Its table on disk is an old one when it starts again."""
        with self._router("stop, meanwhile a route set, and start") as (router, _):
            router.stop()
            self.set_route()
            router.start()

    @contextmanager
    def _router(self, what: str) -> Iterator[tuple[Daemon, Deed]]:
        number = self.chance.randrange(2)
        with self.story.deed(f"{what} of router {number}", number) as deed:
            yield self.routers[number], deed

    def kill_hub(self) -> None:
        self._kill(self.cluster.hub)

    def kill_registry(self) -> None:
        self._kill(self.cluster.registry)

    def kill_drone(self) -> None:
        """Its apps go on."""
        self._kill(self.cluster.daemons[self.chance.choice(self.drones)])

    def kill_keeper(self) -> None:
        """Its apps end with it, at some moments after."""
        drone = self.chance.choice(self.drones)
        with self.story.deed(f"kill -9 of the keeper of {drone}") as deed:
            for keeper in self.cluster.keepers(drone):
                os.kill(keeper, signal.SIGKILL)
            self._until_gone(drone, set(self.cluster.processes(drone)), deed)
            self.settle("kill -9 of a keeper")

    def _until_gone(self, drone: str, left: set[int], deed: Deed) -> None:
        def over() -> bool:
            nonlocal left
            moment = time.monotonic()
            still = left & set(self.cluster.processes(drone))
            if still != left:
                deed.kills.append(moment)
            left = still
            return not left

        until(over, "the apps of a keeper that is gone have ended")

    def _kill(self, daemon: Daemon) -> None:
        with self.story.deed(f"kill -9 of the {daemon.kind}"):
            daemon.kill()
            self.load.until_asked(self.chance.randint(0, SOME))
            daemon.start()
            self.settle(f"kill -9 of the {daemon.kind}")

    def promote(self) -> None:
        new = self._new()
        with self.story.deed(f"promote {new}") as deed:
            deed.releases = frozenset(self.weights) | {new}
            self.cluster.deployctl("promote", HOST, new, "--steps", "30,100", "--every", "1")
            until(lambda: set(self._read_weights()) == {new}, f"{new} gets all")
        # Only a change after the last step is known to be followed.
        self.route({new: 1})


DEEDS = [
    Town.deploy,
    Town.set_route,
    Town.roll_back,
    Town.retire,
    Town.retire_unused,
    Town.drain,
    Town.drain_amid_a_kill,
    Town.kill_app,
    Town.restart_app,
    Town.restart_router,
    Town.kill_router,
    Town.change_while_a_router_is_away,
    Town.kill_hub,
    Town.kill_registry,
    Town.kill_drone,
    Town.kill_keeper,
    Town.promote,
]


def chosen(chance: random.Random, count: int) -> Iterator[Any]:
    """``count`` deeds, of which none comes a second time before all others came once."""
    while count > 0:
        yield from chance.sample(DEEDS, min(count, len(DEEDS)))
        count -= len(DEEDS)
