"""An app's config: where it should be, and nowhere else."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.apps import answering
from tests.e2e.cluster import BIN, Cluster, Repository, get
from tests.e2e.waiting import until

CANARY = "canary-4d7c1f-秘密"
# The app proves that it has the value without showing it.
APP = {"web.py": answering('__import__("hashlib").sha256(os.environ["KEY"].encode()).hexdigest()')}
DIGEST = hashlib.sha256(CANARY.encode()).hexdigest()


def set_from_stdin(cluster: Cluster, *words: str, value: str = CANARY) -> str:
    done = subprocess.run(
        [str(BIN / "deployctl"), "config", "set", "webapp", *words],
        env=cluster.deployctl_environment(),
        input=value + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.fixture
def repository(cluster: Cluster) -> Repository:
    """Two drones; the config is set, and deployed to one of them."""
    for name in ("d1", "d2"):
        cluster.start_drone(name, "--", "python3", "web.py")
    made = cluster.repository("webapp", APP)
    made.push("webapp")
    said = set_from_stdin(cluster, "KEY=-")
    assert said == ("config of webapp is revision 1; `deployctl deploy webapp COMMIT` makes a release with it\n")
    cluster.deployctl("deploy", "webapp", "master", "--drone", "d1")
    return made


def answers(cluster: Cluster) -> list[str]:
    """What the instances on all drones say, sorted."""
    rows = [row for roles in cluster.ports().values() for row in roles["http"]]
    return sorted(get(f"{row['host']}:{row['port']}")[1] for row in rows)


def places(cluster: Cluster) -> list[str]:
    """Every file of any daemon and every process's argv that has the canary in any spelling."""
    spellings = (CANARY.encode(), json.dumps(CANARY)[1:-1].encode(), CANARY.encode().hex().encode())
    found = []
    for path in [*cluster.directory.rglob("*"), *Path("/proc").glob("[0-9]*/cmdline")]:
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            continue
        if any(spelling in content for spelling in spellings):
            found.append(str(path))
    return found


def test_its_values_are_in_the_app_and_nowhere_else(cluster: Cluster, repository: Repository) -> None:
    assert answers(cluster) == [DIGEST]
    (pid,) = cluster.processes()
    assert f"KEY={CANARY}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    # One that fails tells why, and prints its environment to nobody.
    broken = repository.commit({"web.py": "raise SystemExit(3)"})
    repository.push("webapp")
    failed = cluster.run_deployctl("deploy", "webapp", broken, "--drone", "d1", "--timeout", "4")
    assert failed.returncode == 1
    set_from_stdin(cluster, "KEY=-", "OTHER=1")
    shown = [cluster.deployctl(*words) for words in (["ps"], ["releases", "webapp"], ["status"], ["events"], ["apps"])]
    shown += [json.dumps(cluster.json(*words)) for words in (["ps"], ["releases", "webapp"], ["status"], ["drones"])]
    events = cluster.deployctl("events", "--json")
    assert "revision 1: +KEY" in events
    assert "revision 2: +OTHER" in events
    for text in (*shown, events, failed.stdout, failed.stderr):
        assert CANARY not in text
    assert places(cluster) == []
    # Whoever asks for it sees it; and the search above would have found it.
    assert cluster.json("config", "ls", "webapp") == {"KEY": CANARY, "OTHER": "1"}
    assert cluster.deployctl("config", "ls", "webapp", "--commit", "v1") == f'KEY="{CANARY}"\n'
    (cluster.directory / "d1" / "found").write_text(CANARY)
    assert places(cluster) == [str(cluster.directory / "d1" / "found")]


def test_is_kept_over_kills_and_comes_back_without_the_hub(cluster: Cluster, repository: Repository) -> None:
    # The key is kept elsewhere meanwhile; the hub runs without it, and says what it misses.
    cluster.hub.kill()
    key = cluster.directory / "elsewhere.key"
    (cluster.hub.state / "config.key").rename(key)
    cluster.hub.start()
    refused = cluster.run_deployctl("config", "ls", "webapp")
    assert refused.returncode == 1
    assert "revision 1 of the config of webapp cannot be read: the key" in refused.stderr
    cluster.hub.kill()
    cluster.hub._arguments += ["--config-key", str(key)]
    cluster.hub.start()
    assert cluster.json("config", "ls", "webapp") == {"KEY": CANARY}
    assert cluster.deployctl("deploy", "webapp", "master", "--drone", "d1").startswith("webapp v1")
    # Only who runs the app has its config, and as nobody can read it.
    (kept,) = cluster.directory.glob("d*/configs/*/*")
    assert kept.is_relative_to(cluster.directory / "d1")
    assert kept.stat().st_mode & 0o777 == 0o600
    cluster.hub.kill()
    drone = cluster.daemons["d1"]
    drone.stop()
    assert cluster.processes() == []
    drone.launch()
    until(lambda: answers_at_registry(cluster) == [DIGEST], "the app is back with its config")
    for pid in cluster.processes():
        os.kill(pid, signal.SIGKILL)
    until(lambda: answers_at_registry(cluster) == [DIGEST], "it has crashed and is back")
    cluster.hub.start()
    drone.wait()


def answers_at_registry(cluster: Cluster) -> list[str]:
    """As ``answers``, without the hub."""
    table = json.loads(get(cluster.registry.http, "/v1/ports")[1])
    rows = [row for roles in table.values() for row in roles["http"]]
    try:
        return [get(f"{row['host']}:{row['port']}")[1] for row in rows]
    except OSError:
        return []


def test_a_change_is_a_release_beside_the_old_one(cluster: Cluster, repository: Repository) -> None:
    path = cluster.directory / "work" / "env"
    path.write_text("# for tests\nexport KEY='other'\n")
    said = cluster.json("config", "set", "webapp", "EMPTY=", "--from-file", str(path))
    assert said == {"app": "webapp", "config": 2, "names": ["EMPTY", "KEY"]}
    assert "revision 2 already" in cluster.deployctl("config", "set", "webapp", "EMPTY=")
    other = hashlib.sha256(b"other").hexdigest()
    cluster.deployctl("deploy", "webapp", "master")
    assert answers(cluster) == sorted([DIGEST, other, other])
    assert [row["config"] for row in cluster.json("releases", "webapp")] == [1, 2]
    assert "already" in cluster.deployctl("deploy", "webapp", "master")
    # v1 goes on with its own, also on another drone.
    cluster.deployctl("deploy", "webapp", "v1", "--drone", "d2")
    assert answers(cluster) == sorted([DIGEST, DIGEST, other, other])
    cluster.deployctl("retire", "webapp", "v1")
    until(lambda: len(list(cluster.directory.glob("d*/configs/*/*"))) == 2, "the old config is gone from the drones")
    cluster.deployctl("config", "unset", "webapp", "KEY")
    assert cluster.deployctl("config", "ls", "webapp") == "EMPTY=\n"
