"""Each app has a user of its own, and gets nowhere near another one's files and processes, or the drone's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, get
from tests.e2e.waiting import until

FIRST, LAST = 71000, 71009
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give apps users of their own")

PROCFILE = "http: exec python3 -m http.server $PORT --bind $HOST\n"
CONFIG = """\
[build]
command = "id -u > built && mkdir made && echo made > made/by"

[roles.http.check]
command = "test $(id -u) -ge 71000"
"""

SOCKET = "[roles.http]\nsocket = true\n"
HANDED = """
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n%d" % os.getuid())
    connection.close()
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # Where pytest has its directories, nobody else may enter.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        cluster = Cluster(Path(directory))
        cluster.start_core()
        try:
            yield cluster
        finally:
            cluster.close()


def ask(cluster: Cluster, app: str, script: str) -> str:
    """What a shell of that app says, last words of errors too."""
    return cluster.deployctl("exec", app, "master", "--", "sh", "-c", f"{{ {script}; }} 2>&1 || true").strip()


def test_apps_have_users_and_keep_from_each_other(cluster: Cluster) -> None:
    drone = cluster.start_drone("d1", "--app-users", f"{FIRST}-{LAST}")
    traces = cluster.directory / "traces"
    traces.mkdir()
    traces.chmod(0o777)
    for app in ("one", "two"):
        cluster.repository(app, {"Procfile": PROCFILE, "deployd.toml": CONFIG}).push(app)
        cluster.deployctl("config", "set", app, 'A=it\'s "a"\n$B')
        if app == "two":
            # Whatever runs with this leaves a file of its user's.
            cluster.deployctl("config", "set", app, "LD_DEBUG=libs", f"LD_DEBUG_OUTPUT={traces}/of")
        cluster.deployctl("deploy", app, "master")
    assert {path.stat().st_uid for path in traces.iterdir()} == {FIRST + 1}
    rows = {row["app"]: row for row in cluster.json("ps")}
    users = {app: Path(f"/proc/{row['pid']}").stat().st_uid for app, row in rows.items()}
    assert users == {"one": FIRST, "two": FIRST + 1}
    assert f"own users {FIRST}-{LAST}" in cluster.json("drones")[0]["limits"]

    assert ask(cluster, "one", "id -u; id -g; id -G; cat built").split() == [str(FIRST)] * 4
    assert ask(cluster, "one", 'printf %s "$A"').endswith('it\'s "a"\n$B')
    assert ask(cluster, "one", "grep NoNewPrivs /proc/self/status").split()[-1] == "1"
    assert ask(cluster, "one", "touch here $TMPDIR/there && echo done").endswith("done")
    assert ask(cluster, "one", "echo heard > /dev/stdout").endswith("heard")

    state, two = drone.state, rows["two"]["pid"]
    checkout = Path(f"/proc/{two}/cwd").readlink()
    for forbidden in (
        f"cat {checkout}/Procfile",
        f"ls {checkout}",
        f"ls {state}",
        *(f"ls {state}/{name}" for name in ("checkouts", "caches", "tmp", "logs", "mirrors", "configs")),
        f"cat {state}/journal.sqlite",
        f"cat {state}/identity",
        f"cat /proc/{two}/environ",
        f"touch {checkout}/x",
    ):
        assert "denied" in ask(cluster, "one", forbidden), forbidden
    for pid in (two, *cluster.keepers("d1")):
        assert "permitted" in ask(cluster, "one", f"kill -0 {pid}").lower()

    drone.kill()
    drone.start()
    until(lambda: {row["app"]: row for row in cluster.json("ps")} == rows, "it has all as it was")
    assert ask(cluster, "two", "id -u; cat Procfile").split()[0] == str(FIRST + 1)


def test_a_socket_is_handed_over_and_nothing_of_the_drones_can_be_read(cluster: Cluster) -> None:
    drone = cluster.start_drone("d1", "--app-users", f"{FIRST}-{LAST}")
    limits = "[roles.http.limits]\nprocesses = 20\nfiles = 50\n"
    files = {"web.py": HANDED, "Procfile": "http: exec python3 web.py\n", "deployd.toml": SOCKET + limits}
    cluster.repository("one", files).push("one")
    cluster.deployctl("config", "set", "one", "A=b")
    cluster.deployctl("deploy", "one", "master")
    (port,) = next(iter(cluster.ports().values()))["http"]
    assert get(f"{port['host']}:{port['port']}") == (200, str(FIRST))
    for path in drone.state.iterdir():
        if path.name not in ("checkouts", "caches", "tmp", "addresses.json"):
            assert not path.stat().st_mode & 0o077, path
