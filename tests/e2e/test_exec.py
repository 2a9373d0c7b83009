"""Commands that people run in a release."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

from tests.conftest import require
from tests.e2e.cluster import BIN, Cluster
from tests.e2e.waiting import until

pytestmark = require("git")

FILES = {"Procfile": "wait-worker: exec sleep 1000\n", "word": "from the checkout\n"}


def begin(cluster: Cluster, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [str(BIN / "deployctl"), "exec", "webapp", *arguments]
    return subprocess.Popen(command, env=cluster.deployctl_environment(), cwd=cluster.directory, **pipes)


def run(cluster: Cluster, *arguments: str, given: bytes = b"") -> tuple[bytes, bytes, int]:
    process = begin(cluster, *arguments)
    stdout, stderr = process.communicate(given, timeout=60)
    return stdout, stderr, process.returncode


def deployed(cluster: Cluster, *drones: str) -> None:
    for name in drones:
        cluster.start_drone(name)
    cluster.repository("webapp", FILES).push("webapp")
    cluster.deployctl("config", "set", "webapp", "MODE=live")
    cluster.deployctl("deploy", "webapp", "master")


def test_a_command_runs_there_as_if_it_ran_here(cluster: Cluster) -> None:
    deployed(cluster, "d1", "d2")
    sent = os.urandom(5_000_000)
    assert run(cluster, "v1", "--", "sh", "-c", "cat; echo err >&2; exit 7", given=sent) == (sent, b"err\n", 7)

    told = run(cluster, "v1", "--env", "TOKEN=abc", "--", "sh", "-c", "cat word; echo $MODE $TOKEN $RELEASE $PORT")
    assert told == (b"from the checkout\nlive abc v1\n", b"", 0)

    stdout, stderr, code = run(
        cluster, "v1", "--all", "--", "sh", "-c", "cat; [ $DRONE_ID = d1 ] || exit 3", given=b"x"
    )
    assert (sorted(stdout.splitlines()), stderr, code) == ([b"d1 | x", b"d2 | x"], b"", 3)
    assert run(cluster, "v1", "--drone", "d2", "--", "sh", "-c", "echo $DRONE_ID; kill -9 $$")[::2] == (b"d2\n", 137)

    stdout, stderr, code = run(cluster, "v1", "--", "nosuch")
    assert (stdout, code) == (b"", 125)
    assert b"nosuch: command not found" in stderr
    assert run(cluster, "v9", "--", "true")[2] == 2
    for name in ("d1", "d2"):
        assert "abc" not in cluster.daemons[name].text()


def test_a_command_ends_with_whoever_watches_it_and_with_the_drone(cluster: Cluster) -> None:
    deployed(cluster, "d1")

    def processes() -> list[int]:
        return [pid for pid in cluster.processes("d1") if b"exec-" in _environ(pid)]

    # One that leaves its session and its standard streams is found too.
    script = "setsid sleep 900 >/dev/null 2>&1 </dev/null & echo begun; cat"
    for ended in ("kill", "interrupt", "drone"):
        watched = begin(cluster, "v1", "--", "sh", "-c", script)
        assert watched.stdout is not None
        assert watched.stdout.readline() == b"begun\n"
        assert len(until(processes, "it runs")) >= 2
        if ended == "drone":
            cluster.daemons["d1"].kill()
            cluster.daemons["d1"].start()
        else:
            watched.send_signal(signal.SIGKILL if ended == "kill" else signal.SIGINT)
        until(lambda: not processes(), f"all of it has ended: {ended}")
        _, stderr = watched.communicate(timeout=30)
        assert watched.returncode == {"kill": -9, "interrupt": 130, "drone": 125}[ended], stderr
        assert b"Traceback" not in stderr


def _environ(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""
