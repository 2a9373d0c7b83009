"""``git push -o deploy``, with the real git, hub and drone."""

from __future__ import annotations

import json

from tests.e2e.apps import HELLO
from tests.e2e.cluster import Cluster, get


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
