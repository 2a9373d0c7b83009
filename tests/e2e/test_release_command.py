"""The release command: once per release, on one drone, before anything of it starts."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.apps import HELLO
from tests.e2e.cluster import BIN, COMMAND_DEADLINE, Cluster, Repository
from tests.e2e.waiting import until

# It says that it runs, and where, and goes on when it may.
MIGRATE = """echo "$RELEASE $DRONE_ID $ROLE" >> {ran}; while ! test -e {gate}; do sleep 0.05; done; echo migrated"""


class Migration:
    """The files by which the release command tells what it does, and is told to go on."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.ran = cluster.directory / "ran"
        self.gate = cluster.directory / "gate"

    def push(self, command: str = MIGRATE) -> Repository:
        command = command.format(ran=self.ran, gate=self.gate)
        repository = self.cluster.repository(
            "webapp", {"Procfile": f"release: {command}\nhttp: exec python3 web.py\n", "web.py": HELLO}
        )
        repository.push("webapp")
        return repository

    def runs(self) -> list[str]:
        return self.ran.read_text().splitlines() if self.ran.exists() else []

    def begin(self) -> subprocess.Popen[str]:
        """A deploy whose release command has begun."""
        deploying = subprocess.Popen(
            [str(BIN / "deployctl"), "deploy", "webapp", "master"],
            env=self.cluster.deployctl_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(self.runs, "the release command has begun")
        return deploying


@pytest.fixture
def migration(cluster: Cluster) -> Migration:
    for name in ("d1", "d2"):
        cluster.start_drone(name)
    return Migration(cluster)


def test_it_runs_once_and_then_everything_starts(migration: Migration) -> None:
    cluster = migration.cluster
    migration.push()
    deploying = migration.begin()
    (row,) = cluster.json("ps")
    assert (row["role"], row["drone"]) == ("release", "d1")
    migration.gate.touch()
    said, _ = deploying.communicate(timeout=COMMAND_DEADLINE)
    assert deploying.returncode == 0
    assert "d1: pending: runs the release command" in said
    assert "d2: pending: waits for the release command on d1" in said
    cluster.start_drone("d3")
    cluster.deployctl("deploy", "webapp", "master")
    assert sorted((row["role"], row["drone"]) for row in cluster.json("ps")) == [
        ("http", name) for name in ("d1", "d2", "d3")
    ]
    assert migration.runs() == ["v1 d1 release"]


def test_one_that_fails_fails_the_deploy_with_its_output_and_nothing_starts(migration: Migration) -> None:
    cluster = migration.cluster
    migration.push('echo "$RELEASE" >> {ran}; echo no such table >&2; exit 3')
    done = cluster.run_deployctl("deploy", "webapp", "master")
    assert done.returncode == 1
    assert "the release command failed on d1" in done.stderr
    assert "the release command failed: exited with code 3\n" in done.stderr
    assert "  | no such table" in done.stderr
    until(lambda: cluster.json("ps") == [], "nothing of it is there")
    assert cluster.ports() == {}
    cluster.deployctl("deploy", "webapp", "master", code=1)
    assert migration.runs() == ["v1", "v1"]


def test_hub_and_drone_may_be_killed_in_its_middle_and_it_goes_on(migration: Migration) -> None:
    cluster = migration.cluster
    migration.push()
    deploying = migration.begin()
    cluster.daemons["d1"].kill()
    cluster.hub.kill()
    cluster.hub.start()
    cluster.daemons["d1"].start()
    migration.gate.touch()
    deploying.communicate(timeout=COMMAND_DEADLINE)
    cluster.deployctl("deploy", "webapp", "master")
    assert sorted(row["role"] for row in cluster.json("ps")) == ["http", "http"]
    assert migration.runs() == ["v1 d1 release"]


def test_a_drone_that_is_lost_in_its_middle_fails_the_deploy(migration: Migration) -> None:
    cluster = migration.cluster
    migration.push()
    deploying = migration.begin()
    cluster.daemons["d1"].kill()
    cluster.reap()
    migration.gate.touch()
    _, error = deploying.communicate(timeout=COMMAND_DEADLINE)
    assert deploying.returncode == 1
    assert "d1 was lost while it ran the release command; whether it finished is unknown" in error
    assert migration.runs() == ["v1 d1 release"]
    cluster.deployctl("deploy", "webapp", "master", "--drone", "d2")
    assert migration.runs() == ["v1 d1 release", "v1 d2 release"]


def test_a_drone_that_is_lost_with_its_apps_says_so_itself_when_it_returns(migration: Migration) -> None:
    cluster = migration.cluster
    migration.push()
    deploying = migration.begin()
    cluster.daemons["d1"].kill()
    cluster.reap()
    cluster.daemons["d1"].start()
    _, error = deploying.communicate(timeout=COMMAND_DEADLINE)
    assert deploying.returncode == 1
    assert "the release command failed on d1" in error
    assert migration.runs() == ["v1 d1 release"]
