"""What happened is told, and followed over a kill of the hub."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.conftest import require
from tests.e2e.cluster import BIN, Cluster
from tests.e2e.waiting import until

pytestmark = require("git")


def test_events_are_listed_and_followed(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "python3", "-m", "http.server")
    repository = cluster.repository("webapp", {"file": "text"})
    repository.push("webapp")
    rows = cluster.json("events")
    assert (rows[0]["what"], rows[0]["app"], rows[0]["detail"]) == ("drone joined", "", "d1")
    assert rows[-1]["what"] == "push"
    assert cluster.json("events", "--app", "webapp") == rows[-1:] == cluster.json("events", "-n", "1")
    cluster.deployctl("events", "--app", "nosuch", code=2)

    out = cluster.directory / "followed"
    with out.open("wb") as stdout:
        command = [str(BIN / "deployctl"), "events", "-f", "-n", "1", "--json", "--timeout", "120"]
        follower = subprocess.Popen(command, env=cluster.deployctl_environment(), stdout=stdout, cwd=cluster.directory)
    try:
        until(lambda: _told(out) == ["push"], "it begins with the newest")
        cluster.hub.kill()
        cluster.hub.start()
        cluster.deployctl("drain", "d1")
        until(lambda: "drain" in _told(out), "it goes on over a kill of the hub")
        assert _told(out)[:2] == ["push", "drain"]
    finally:
        follower.kill()
        follower.wait()


def _told(out: Path) -> list[str]:
    return [json.loads(line)["what"] for line in out.read_text().splitlines()]
