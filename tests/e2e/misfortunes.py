"""What befalls a village, and what people do there meanwhile."""

from __future__ import annotations

import select
import signal
from collections.abc import Callable

from tests.e2e.asking import Asking
from tests.e2e.cluster import Daemon
from tests.e2e.village import Village, kill

Misfortune = Callable[[Village], None]


def pause(seconds: float) -> None:
    select.select([], [], [], max(0.0, seconds))


def again(daemon: Daemon) -> None:
    """kill -9, and a start."""
    daemon.kill()
    daemon.launch()


# Misfortunes. Each leaves all daemons started.


def kill_drone(village: Village) -> None:
    again(village.chance.choice(village.drones))


def kill_drone_again_and_again(village: Village) -> None:
    """As it starts, too."""
    drone = village.chance.choice(village.drones)
    for _ in range(5):
        again(drone)
        pause(village.chance.uniform(0, 1.5))


def kill_all_drones(village: Village) -> None:
    for drone in village.drones:
        drone.kill()
    pause(village.chance.uniform(0, 1))
    for drone in village.drones:
        drone.launch()


def kill_hub(village: Village) -> None:
    again(village.cluster.hub)


def kill_registry(village: Village) -> None:
    again(village.cluster.registry)


def keep_and_start(village: Village) -> None:
    drone = village.chance.choice(village.drones)
    drone.stop()
    drone.launch()


def stall_drone(village: Village) -> None:
    drone = village.chance.choice(village.drones)
    assert drone.process is not None
    stall(village, drone.process.pid)


def stall_keeper(village: Village) -> None:
    for pid in village.cluster.keepers(village.chance.choice(village.drones).state.name):
        stall(village, pid)


def stall(village: Village, pid: int) -> None:
    kill(pid, signal.SIGSTOP)
    pause(village.chance.uniform(0.1, 3))
    kill(pid, signal.SIGCONT)


def kill_drone_in_an_outage(village: Village) -> None:
    """Without hub and registry it takes over what runs."""
    for daemon in (village.cluster.hub, village.cluster.registry):
        daemon.kill()
    again(village.chance.choice(village.drones))
    pause(village.chance.uniform(0, 2))
    village.cluster.registry.launch()
    village.cluster.hub.launch()


HARMLESS = [
    kill_drone,
    kill_drone_again_and_again,
    kill_all_drones,
    kill_hub,
    kill_registry,
    keep_and_start,
    stall_drone,
    stall_keeper,
    kill_drone_in_an_outage,
]
"""After these every app has the process that it had."""
UNSEEN = [kill_drone, kill_drone_again_and_again, kill_all_drones, kill_hub, keep_and_start, stall_drone, stall_keeper]
"""And during these no row leaves the port table."""


def kill_keeper(village: Village) -> None:
    end_keeper(village, village.chance.choice(village.drones))


def end_keeper(village: Village, drone: Daemon) -> None:
    for pid in village.cluster.keepers(drone.state.name):
        kill(pid, signal.SIGKILL)


def kill_drone_and_keeper(village: Village) -> None:
    drone = village.chance.choice(village.drones)
    steps = [drone.kill, lambda: end_keeper(village, drone)]
    village.chance.shuffle(steps)
    for step in steps:
        step()
        pause(village.chance.uniform(0, 0.2))
    drone.launch()


def kill_app(village: Village) -> None:
    end_apps(village, village.chance.choice(village.drones), village.chance.randint(1, 3))


def end_apps(village: Village, drone: Daemon, most: int = 1) -> None:
    pids = village.witness.apps(drone)
    for pid in village.chance.sample(pids, min(len(pids), most)):
        kill(pid, signal.SIGKILL)


def kill_app_without_a_drone(village: Village) -> None:
    drone = village.chance.choice(village.drones)
    drone.kill()
    end_apps(village, drone)
    pause(village.chance.uniform(0, 1))
    drone.launch()


def kill_app_amid_a_stall(village: Village) -> None:
    """The news of its end waits."""
    drone = village.chance.choice(village.drones)
    assert drone.process is not None
    stalled = village.chance.choice([drone.process.pid, *village.cluster.keepers(drone.state.name)])
    kill(stalled, signal.SIGSTOP)
    end_apps(village, drone)
    pause(village.chance.uniform(0, 2))
    kill(stalled, signal.SIGCONT)


def stop_and_start(village: Village) -> None:
    drone = village.chance.choice(village.drones)
    village.stop_drone(drone)
    assert village.witness.of(drone) == []
    drone.launch()


def reboot(village: Village) -> None:
    """The hub is back only later."""
    drone = village.chance.choice(village.drones)
    village.cluster.hub.kill()
    drone.kill()
    for pid in [*village.cluster.keepers(drone.state.name), *village.witness.of(drone)]:
        kill(pid, signal.SIGKILL)
    drone.launch()
    pause(village.chance.uniform(0, 2))
    village.cluster.hub.launch()


HARMFUL = [
    kill_keeper,
    kill_drone_and_keeper,
    kill_app,
    kill_app_without_a_drone,
    kill_app_amid_a_stall,
    stop_and_start,
    reboot,
]


def befalls(village: Village, misfortune: Misfortune) -> None:
    """It happens to a village at peace, and what it does not touch stays as it was."""
    before = village.pids()
    reader = Asking(village.cluster.registry.http, village.all_registered(), path="/v1/ports")
    with reader, village.deed(misfortune.__name__):
        misfortune(village)
    if misfortune in UNSEEN:
        assert reader.failures == []
    if misfortune in HARMLESS:
        after = village.pids()
        assert after == before, f"{misfortune.__name__}: {before} became {after}"


def befall_together(village: Village, *misfortunes: Misfortune) -> None:
    """One comes while another is not got over yet."""
    with village.deed(", ".join(misfortune.__name__ for misfortune in misfortunes)):
        for misfortune in misfortunes:
            misfortune(village)
            pause(village.chance.uniform(0, 1.5))


def is_done(village: Village, operation: Misfortune) -> None:
    with village.deed(operation.__name__):
        operation(village)


def is_done_amid(village: Village, operation: Callable[[Village, Misfortune], None], misfortune: Misfortune) -> None:
    with village.deed(f"{operation.__name__} {misfortune.__name__}"):
        operation(village, misfortune)
