"""Releases that are built on their drones, as the person who deploys them sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.apps import answering
from tests.e2e.cluster import BIN, COMMAND_DEADLINE, Cluster, Repository, get
from tests.e2e.waiting import until

BUILD = """
[[build]]
command = "mkdir made; date +%s%N > made/stamp; cp lock made/; test -e $HOME/slow && sleep 1000; true"
cache = ["lock"]
makes = ["made"]

[[build]]
command = "cat made/lock > out; echo $COMMIT >> out"
"""
ANSWER = answering('open("made/stamp").read() + open("out").read()')
APP = {"Procfile": "http: exec python3 app.py\n", "app.py": ANSWER, "deployd.toml": BUILD, "lock": "one\n"}


def pushed(cluster: Cluster, **files: str) -> Repository:
    repository = cluster.repository("webapp", APP | files)
    repository.push("webapp")
    return repository


def answer(cluster: Cluster, commit: str) -> list[str]:
    """When it was made, of which lock file, and for which commit."""
    (row,) = cluster.ports()[commit]["http"]
    return get(f"{row['host']}:{row['port']}")[1].split()


def next_commit(cluster: Cluster, repository: Repository, files: dict[str, str]) -> list[str]:
    commit = repository.commit(files)
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", commit)
    return answer(cluster, commit)


def test_what_is_built_from_the_same_files_is_built_once(cluster: Cluster) -> None:
    cluster.start_drone("d1")
    repository = pushed(cluster)
    first = repository.head
    cluster.deployctl("deploy", "webapp", first)
    stamp, *rest = answer(cluster, first)
    assert rest == ["one", first]
    same = next_commit(cluster, repository, {"other": "1"})
    assert same == [stamp, "one", repository.head]
    other = next_commit(cluster, repository, {"lock": "two\n"})
    assert (other[0] != stamp, other[1]) == (True, "two")


def test_a_build_that_fails_fails_the_deploy_with_its_last_lines(cluster: Cluster) -> None:
    cluster.start_drone("d1")
    broken = '[build]\ncommand = "echo fetching; echo no such package >&2; exit 4"\n'
    repository = pushed(cluster, **{"deployd.toml": broken})
    done = cluster.run_deployctl("deploy", "webapp", repository.head)
    assert done.returncode == 1
    assert "the build failed: `echo fetching; echo no such package >&2; exit 4` exited with code 4" in done.stderr
    assert "fetching" in done.stderr
    assert "no such package" in done.stderr
    repository.commit({"deployd.toml": BUILD})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", repository.head)
    assert answer(cluster, repository.head)[1] == "one"


def test_a_drone_killed_in_the_middle_of_a_build_builds_anew(cluster: Cluster) -> None:
    drone = cluster.start_drone("d1")
    repository = pushed(cluster)
    home = drone.state / "caches" / "webapp" / ".home"
    home.mkdir(parents=True)
    (home / "slow").touch()
    deploying = subprocess.Popen(
        [str(BIN / "deployctl"), "deploy", "webapp", repository.head],
        env=cluster.deployctl_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(lambda: sleeping(drone.state), "the build runs")
    (first,) = sleeping(drone.state)
    drone.kill()
    assert sleeping(drone.state) == [first]
    (home / "slow").unlink()
    drone.start()
    _, errors = deploying.communicate(timeout=COMMAND_DEADLINE)
    assert deploying.returncode == 0, errors
    assert answer(cluster, repository.head)[1:] == ["one", repository.head]
    assert sleeping(drone.state) == []


def test_a_deploy_that_would_not_fit_is_refused_with_the_numbers(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--disk-reserve", "1000T")
    repository = pushed(cluster)
    done = cluster.run_deployctl("deploy", "webapp", repository.head)
    assert done.returncode == 1
    assert "webapp v1 needs about 17 kB of disk space here, where none is free (1100 TB stay in reserve)" in done.stderr


def sleeping(place: Path) -> list[int]:
    """The processes that sleep below ``place``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if command.startswith(b"sleep\0") and (process / "cwd").readlink().is_relative_to(place):
                found.append(int(process.name))
        except OSError:
            continue
    return found
