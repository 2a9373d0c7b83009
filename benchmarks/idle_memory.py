"""The resident memory of each idle daemon, beside a bare twistd that does nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.apps import HELLO
from tests.e2e.cluster import PYTHON_ENVIRONMENT, Cluster
from tests.e2e.waiting import until

ALLOWED_MB = 60
BARE = "from twisted.scripts import twistd; from twisted.internet import reactor; print(flush=True); reactor.run()"


def resident(pid: int) -> float:
    """Megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def bare() -> float:
    process = subprocess.Popen([sys.executable, "-c", BARE], env=PYTHON_ENVIRONMENT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        return resident(process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def run(directory: Path) -> list[str]:
    directory.mkdir(exist_ok=True)
    cluster = Cluster(directory)
    try:
        cluster.start_core()
        cluster.start_drone("d1", "--", "python3", "web.py")
        repository = cluster.repository("webapp", {"web.py": HELLO})
        repository.push("webapp")
        cluster.deployctl("deploy", "webapp", "master")
        until(lambda: cluster.ports(), "the app is registered")
        floor = bare()
        lines = [
            f"Memory of each daemon after a push and a deploy (allowed: {ALLOWED_MB} MB)",
            "",
            "| daemon | MB | of a bare twistd |",
            "| --- | --- | --- |",
            f"| (bare twistd) | {floor:.0f} | 1.0 |",
        ]
        for daemon in cluster.daemons.values():
            assert daemon.process is not None
            used = resident(daemon.process.pid)
            lines.append(f"| {daemon.kind} | {used:.0f} | {used / floor:.1f} |")
        return lines
    finally:
        cluster.close()
