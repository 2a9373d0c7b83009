"""``git push -o deploy``, with the real git, hub and drone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.e2e.apps import HELLO
from tests.e2e.cluster import Cluster, get
from tests.e2e.waiting import until


def test_a_push_deploys_and_tells(cluster: Cluster) -> None:
    """By option, and on the app's deploy-branch; a failure is told as such, and the push stands."""
    cluster.start_drone("web", "--", "python3", "web.py")
    repository = cluster.repository("webapp", {"web.py": HELLO})
    first = repository.head
    pushed = repository.run_git("push", "-o", "deploy", cluster.git_url("webapp"), "master")
    assert pushed.returncode == 0, pushed.stderr
    assert f"remote: deployd: new branch master at {first[:7]}: 1 new commit" in pushed.stderr
    assert f"remote: deployd: webapp v1 ({first[:7]}) is deployed: 1 of 1 drone ready" in pushed.stderr

    cluster.deployctl("app", "set", "webapp", "deploy-branch=master", "allow-force=master")
    repository.git("commit", "-q", "--amend", "-m", "again")
    repository.commit({"web.py": "import sys; print('no such luck'); sys.exit(1)"})
    broken = repository.head
    pushed = repository.run_git("push", "--force", "-o", "deploy.timeout=1", cluster.git_url("webapp"), "master")
    assert pushed.returncode == 0, pushed.stderr
    assert f"{first[:7]}...{broken[:7]}: 2 new commits (forced)" in pushed.stderr
    assert f"remote: deployd: webapp v2 ({broken[:7]}) failed: " in pushed.stderr
    assert "remote:   | no such luck" in pushed.stderr
    assert f"remote: deployd: the push itself is done: master is at {broken[:7]}" in pushed.stderr
    assert set(json.loads(get(cluster.registry.http, "/v1/ports")[1])) == {first}


def test_a_deploy_outlives_a_hub_that_is_killed_before_it_is_saved(cluster: Cluster) -> None:
    """The refs have moved, and the hub has not heard of it: its next start goes on, once."""
    cluster.start_drone("web", "--", "python3", "web.py")
    repository = cluster.repository("webapp", {"web.py": HELLO})
    repository.push("webapp", "master:refs/heads/aside")
    cluster.deployctl("app", "set", "webapp", "deploy-branch=master")
    path, hub = cluster.hub.state / "repositories" / "webapp.git", cluster.hub.process
    assert hub is not None
    push = ["git", "push", "-q", cluster.git_url("webapp"), "master"]
    pushing = subprocess.Popen(push, cwd=repository.path, stderr=subprocess.DEVNULL)
    while not _intents(path):
        assert pushing.poll() is None
    os.kill(hub.pid, signal.SIGSTOP)
    until(lambda: "refs/heads/master" in (path / "packed-refs").read_text(), "the refs have moved")
    assert _intents(path)
    assert "deploy webapp" not in cluster.hub.text()
    cluster.hub.kill()
    pushing.wait(30)
    for _ in range(2):
        cluster.hub.start()
        until(lambda: len(cluster.processes()) == 1, "what was pushed runs")
        assert not _intents(path)
        cluster.hub.kill()
    cluster.hub.start()
    assert cluster.hub.text().count("Ledger#info] deploy webapp v1") == 1
    assert [row["release"] for row in cluster.json("releases", "webapp")] == ["v1"]


def _intents(repository: Path) -> list[Path]:
    return list((repository / "deployd").glob("deploy-*.json"))
