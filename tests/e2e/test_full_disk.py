"""A hub or drone whose disk is full refuses in a sentence, loses nothing, and goes on once there is room again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.e2e.apps import HELLO
from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT, SECRET, Cluster, Daemon, Repository, get
from tests.e2e.waiting import until

pytestmark = [require("git", "unshare", "mount")]

SIZE = 8 << 20
LARGE = 10 << 20
# Mounts the small disk where only the daemon and its children see it, and then becomes the daemon.
MOUNT = 'mount -t tmpfs -o size=$0,mode=700 none "$1" && shift && exec "$@"'


def can_mount(place: Path) -> bool:
    command = ["unshare", "--mount", "sh", "-c", MOUNT, "1m", str(place), "true"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


class SmallDiskDaemon(Daemon):
    """A daemon whose state directory is a small disk of its own, which goes when the daemon goes."""

    @property
    def disk(self) -> Path:
        """The disk as this process can see it."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{self.state}")

    def addresses(self) -> dict[str, Any]:
        own, self.state = self.state, self.disk if self.process is not None else self.state
        try:
            return super().addresses()
        finally:
            self.state = own

    def free(self) -> int:
        found = os.statvfs(self.disk)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        """Leave no byte."""
        with (self.disk / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                return

    def make_room(self) -> None:
        (self.disk / "filler").unlink()


class SmallDisks(Cluster):
    """``small`` names the daemons that have little space."""

    def __init__(self, directory: Path, small: str) -> None:
        super().__init__(directory)
        self._small = small

    def daemon(self, name: str, kind: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Daemon:
        if name != self._small:
            return super().daemon(name, kind, *arguments, prefix=prefix)
        place = self.directory / name
        place.mkdir()
        mount = ["unshare", "--mount", "sh", "-c", MOUNT, str(SIZE), str(place)]
        self.daemons[name] = SmallDiskDaemon(kind, place, list(arguments), mount, self.secret)
        return self.daemons[name]


@pytest.fixture(params=["hub", "d1"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisks]:
    (tmp_path / "probe").mkdir()
    if os.environ.get("DEPLOYD_REQUIRE_ALL") != "1" and not can_mount(tmp_path / "probe"):
        pytest.skip("needs root and mount namespaces")
    made = SmallDisks(tmp_path, request.param)
    try:
        made.start_core()
        made.start_drone("d1", "--", "python3", "http.py")
        yield made
        for daemon in made.daemons.values():
            assert daemon.running
            assert "Traceback" not in daemon.text(), daemon.text()[-4000:]
            assert SECRET not in daemon.text()
    finally:
        made.close()


@pytest.mark.parametrize("kind", ["registry", "hub", "drone"])
def test_a_daemon_that_finds_its_disk_full_says_so_in_one_line(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "state"
    place.mkdir()
    if os.environ.get("DEPLOYD_REQUIRE_ALL") != "1" and not can_mount(place):
        pytest.skip("needs root and mount namespaces")
    needed = ["--hub", "127.0.0.1:1"] if kind == "drone" else ["--port", "0"]
    twistd = [str(BIN / "twistd"), "-n", "--pidfile=", f"deployd-{kind}", "--state-dir", str(place), *needed]
    fill = 'dd if=/dev/zero of="$0/filler" bs=4096 2>/dev/null; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNT, "64k", str(place), "sh", "-c", fill, str(place), *twistd],
        env=PYTHON_ENVIRONMENT | {"DEPLOYD_SECRET": SECRET},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"deployd-{kind}: ")
    assert "space" in line or "full" in line


def small(cluster: SmallDisks) -> SmallDiskDaemon:
    (found,) = (daemon for daemon in cluster.daemons.values() if isinstance(daemon, SmallDiskDaemon))
    return found


def deployed(cluster: Cluster) -> Repository:
    repository = cluster.repository("webapp", {"http.py": HELLO})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    return repository


def serves(cluster: Cluster, commit: str) -> bool:
    rows = cluster.ports().get(commit, {}).get("http", [])
    return [get(f"{row['host']}:{row['port']}") for row in rows] == [(200, "hello")]


def with_large_file(repository: Repository, content: bytes) -> str:
    (repository.path / "large").write_bytes(content)
    return repository.commit({})


@pytest.mark.parametrize("cluster", ["hub"], indirect=True)
def test_a_push_that_does_not_fit_is_refused_and_leaves_nothing(cluster: SmallDisks) -> None:
    repository = deployed(cluster)
    first, before = repository.head, small(cluster).free()
    with_large_file(repository, os.urandom(LARGE))
    done = repository.run_git("push", cluster.git_url("webapp"), "master")
    assert done.returncode != 0
    assert "the hub could not store it: no space left on device" in done.stderr, done.stderr
    assert serves(cluster, first)
    until(lambda: small(cluster).free() > before - (1 << 20), "what came of it is gone")
    assert cluster.json("apps")[0]["head"] == first
    # What fits goes through.
    repository.git("reset", "-q", "--hard", first)
    second = repository.commit({"x": "1"})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", second)
    assert serves(cluster, second)


@pytest.mark.parametrize("cluster", ["hub"], indirect=True)
def test_a_hub_without_a_free_byte_answers_what_it_can_and_refuses_the_rest(cluster: SmallDisks) -> None:
    repository = deployed(cluster)
    first = repository.head
    second = repository.commit({"x": "1"})
    repository.push("webapp")
    small(cluster).fill()
    refused = cluster.run_deployctl("deploy", "webapp", second)
    assert refused.returncode == 1
    assert "space" in refused.stderr or "full" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    pushed = repository.run_git("push", cluster.git_url("other"), "master")
    assert pushed.returncode != 0
    assert "the hub could not store it: no space left on device" in pushed.stderr
    assert [row["state"] for row in cluster.json("ps")] == ["ready"]
    assert serves(cluster, first)
    small(cluster).make_room()
    cluster.deployctl("deploy", "webapp", second)
    assert serves(cluster, second)
    assert [row["app"] for row in cluster.json("apps")] == ["webapp"]


@pytest.mark.parametrize("cluster", ["d1"], indirect=True)
def test_a_checkout_that_does_not_fit_fails_its_deploy_alone(cluster: SmallDisks) -> None:
    repository = deployed(cluster)
    first, before = repository.head, small(cluster).free()
    # Its pack is small.
    large = with_large_file(repository, bytes(LARGE))
    repository.push("webapp")
    refused = cluster.run_deployctl("deploy", "webapp", large, "--timeout", "15")
    assert refused.returncode == 1
    assert "space" in refused.stderr
    assert serves(cluster, first)
    until(lambda: small(cluster).free() > before - (1 << 20), "what came of it is gone")
    repository.git("reset", "-q", "--hard", first)
    second = repository.commit({"x": "1"})
    repository.push("webapp", "master:small")
    cluster.deployctl("deploy", "webapp", second)
    assert serves(cluster, second)


@pytest.mark.parametrize("cluster", ["d1"], indirect=True)
def test_a_drone_without_a_free_byte_keeps_what_runs_and_takes_more_once_there_is_room(cluster: SmallDisks) -> None:
    repository = deployed(cluster)
    first = repository.head
    small(cluster).fill()
    second = repository.commit({"x": "1"})
    repository.push("webapp")
    refused = cluster.run_deployctl("deploy", "webapp", second, "--timeout", "3")
    assert refused.returncode == 1
    assert "space" in refused.stderr or "full" in refused.stderr, refused.stderr
    assert serves(cluster, first)
    small(cluster).make_room()
    cluster.deployctl("deploy", "webapp", second)
    assert serves(cluster, second)
    assert serves(cluster, first)
