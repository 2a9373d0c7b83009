"""What people do in a village, in peace and in the middle of a misfortune."""

from __future__ import annotations

import subprocess
import threading

from tests.e2e.misfortunes import Misfortune, pause
from tests.e2e.village import PYTHON, Village

MOST_RELEASES = 3
MOST_SPAWNED = 3


def deploy(village: Village) -> None:
    if len(village.releases) >= MOST_RELEASES:
        retire(village)
    if village.chance.random() < 0.5:
        village.configure()
    if village.chance.random() < 0.5:
        village.change_lock()
    village.deploy(village.push())


def retire(village: Village) -> None:
    release = village.releases.pop(0)
    gone = {row["id"] for row in village.rows if row["release"] == release.name}
    village.cluster.deployctl("--timeout", "60", "retire", "webapp", release.name)
    village.stopped -= gone
    for id in gone & village.spawned.keys():
        del village.spawned[id]


def spawn(village: Village) -> None:
    if len(village.spawned) >= MOST_SPAWNED:
        return
    release, drone = village.chance.choice(village.releases), village.chance.choice(village.drones).state.name
    words = PYTHON.removeprefix("exec ").split()
    said = village.cluster.json("spawn", "webapp", release.name, "--drone", drone, "--", *words, "quiet")
    for row in said["instances"]:
        village.spawned[row["id"]] = (release, drone)


def stop(village: Village) -> None:
    running = [row["id"] for row in village.rows if row["state"] == "ready"]
    ids = village.chance.sample(running, min(len(running), 2))
    village.cluster.deployctl("--timeout", "60", "stop", *ids)
    village.stopped |= set(ids)


def restart(village: Village) -> None:
    ids = village.chance.sample([row["id"] for row in village.rows], 2)
    village.cluster.deployctl("--timeout", "60", "restart", *ids, *village.stopped)
    village.stopped = set()


def execute(village: Village) -> None:
    release = village.chance.choice(village.releases)
    command = ["exec", "webapp", release.name, "--all", "--", "sh", "-c", "cat made/lock; echo; echo $MODE; exit 3"]
    done = village.cluster.run_deployctl(*command)
    assert done.returncode == 3, done
    said = sorted(line.partition(" | ")[2] for line in done.stdout.splitlines())
    assert said == sorted([release.lock, release.mode] * len(village.drones)), done


def deploy_amid(village: Village, befall: Misfortune) -> None:
    """What fails is tried again; then it has to go well."""
    if len(village.releases) >= MOST_RELEASES:
        retire(village)
    village.change_lock()
    release = village.push()
    village.count_attempt(release)
    done = amid(village, befall, "deploy", "webapp", release.commit)
    # A build that the drone was killed in begins anew.
    village.builds[release.lock] += 2
    if done.returncode == 0:
        village.deployed(release)
    else:
        village.until_back()
        village.deploy(release)


def retire_amid(village: Village, befall: Misfortune) -> None:
    if len(village.releases) < 2:
        return
    name = village.releases[0].name
    amid(village, befall, "retire", "webapp", name)
    village.until_back()
    retire(village)


def stop_amid(village: Village, befall: Misfortune) -> None:
    running = [row["id"] for row in village.rows if row["state"] == "ready"]
    ids = village.chance.sample(running, min(len(running), 2))
    if amid(village, befall, "stop", *ids).returncode:
        village.until_back()
        village.cluster.deployctl("--timeout", "60", "stop", *ids)
    village.stopped |= set(ids)


def restart_amid(village: Village, befall: Misfortune) -> None:
    ids = village.chance.sample([row["id"] for row in village.rows], 2)
    if amid(village, befall, "restart", *ids).returncode:
        village.until_back()
        village.cluster.deployctl("--timeout", "60", "restart", *ids)
    village.stopped -= set(ids)


def execute_amid(village: Village, befall: Misfortune) -> None:
    """It may fail, but nothing of it may be left."""
    amid(village, befall, "exec", "webapp", village.releases[0].name, "--all", "--", "sh", "-c", "sleep 3 & sleep 3")


def amid(village: Village, befall: Misfortune, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Do it, and let something happen meanwhile."""
    done: list[subprocess.CompletedProcess[str]] = []
    command = ["--timeout", "60", *arguments]
    doing = threading.Thread(target=lambda: done.append(village.cluster.run_deployctl(*command)))
    doing.start()
    pause(village.chance.uniform(0.3, 2))
    befall(village)
    doing.join()
    village.tell(f"{arguments[0]} ended with {done[0].returncode}: {done[0].stderr.strip()}")
    assert "Traceback" not in done[0].stderr, done[0].stderr
    return done[0]


OPERATIONS = [deploy, deploy, spawn, stop, restart, execute]
AMID = [deploy_amid, deploy_amid, retire_amid, stop_amid, restart_amid, execute_amid]
