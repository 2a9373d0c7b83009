"""What bad input gets: one sentence, the right exit code, every daemon still up, nothing lost or leaked."""

from __future__ import annotations

import itertools
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.apps import HELLO, answering
from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT, SECRET, Cluster, Repository, get
from tests.e2e.waiting import until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Repository]]:
    made = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        made.start_core()
        made.start_drone("d1", "--", "python3", "web.py")
        repository = made.repository("webapp", {"web.py": HELLO})
        repository.push("webapp")
        made.deployctl("deploy", "webapp", "master", "--drone", "d1")
        yield made, repository
    finally:
        made.close()


@pytest.fixture
def running(shared: tuple[Cluster, Repository]) -> Iterator[tuple[Cluster, Repository]]:
    """A cluster with one drone that runs one healthy release; it must still do so after each of these tests.

    Drones that a test starts are ended and forgotten.
    """
    cluster, _ = shared
    before, known = cluster.ports(), set(cluster.daemons)
    yield shared
    assert all(cluster.daemons[name].running for name in known)
    after = cluster.ports()
    for commit, roles in before.items():
        assert after[commit] == roles
        for row in roles["http"]:
            assert get(f"{row['host']}:{row['port']}") == (200, "hello")
    for daemon in cluster.daemons.values():
        assert SECRET not in daemon.text()
        assert "Traceback" not in daemon.text(), daemon.text()[-3000:]
    for name in set(cluster.daemons) - known:
        cluster.daemons.pop(name).stop()
        cluster.deployctl("drones", "--forget", name)


def another_drone(cluster: Cluster, *command: str) -> str:
    """One that no earlier test had; its name."""
    name = f"d{next(NUMBERS)}"
    cluster.start_drone(name, *command)
    return name


NUMBERS = itertools.count(2)


def refused(cluster: Cluster, code: int, *arguments: str, secret: str | None = None) -> str:
    """The one sentence on stderr of a deployctl that ends with ``code``."""
    done = cluster.run_deployctl(*arguments, secret=secret)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip(), arguments
    return done.stderr


def test_unknown_things_are_usage_errors(running: tuple[Cluster, Repository]) -> None:
    cluster, _ = running
    other = cluster.repository("other", {"a": "b"})
    other.push("other")
    for arguments in (
        ("deploy", "nosuch", "master"),
        ("deploy", "webapp", "0" * 40),
        ("deploy", "webapp", "nosuchbranch"),
        ("deploy", "webapp", other.head),
        ("deploy", "webapp", "v9"),
        ("deploy", "webapp", "master", "--drone", "nosuch"),
        ("deploy", "webapp", "master", "--need", "some"),
        ("deploy", "webapp", "master", "--where", "x"),
        ("retire", "webapp", "0" * 40),
        ("retire", "nosuch", "master"),
        ("stop", "nosuch"),
        ("restart", "nosuch"),
        ("releases", "nosuch"),
        ("drones", "--forget", "nosuch"),
        ("frobnicate",),
        ("deploy", "--nosuch"),
    ):
        refused(cluster, 2, *arguments)


@pytest.mark.parametrize("name", ["../../x", "-rf", "a//b", "x.git/..", "a" * 300, "a\nb", ".", "..", "-/x", "healthz"])
def test_bad_app_names_are_usage_errors(running: tuple[Cluster, Repository], name: str) -> None:
    cluster, _ = running
    refused(cluster, 2, "deploy", "--", name, "master")
    assert sorted(path.name for path in cluster.directory.iterdir() if path.name.startswith("x")) == []


def test_wrong_secrets_are_refused_everywhere_and_the_right_one_still_passes(
    running: tuple[Cluster, Repository],
) -> None:
    cluster, repository = running
    for secret in ("wrong", "1234", SECRET + " ", SECRET[:-1]):
        refused(cluster, 4, "ps", secret=secret)
        assert repository.run_git("push", cluster.git_url("webapp", secret), "master").returncode != 0
    refused(cluster, 2, "ps", secret="")
    assert repository.run_git("push", f"http://{cluster.hub.http}/webapp", "master").returncode != 0
    for _ in range(20):
        get(cluster.hub.http, "/webapp/info/refs?service=git-receive-pack")
    cluster.deployctl("ps")
    repository.push("webapp")


def test_a_drone_with_a_wrong_secret_says_so_and_ends(cluster: Cluster) -> None:
    cluster.secret = "1234"
    drone = cluster.daemon("d1", "drone", "--hub", cluster.hub.amp, "--", "true")
    cluster.secret = SECRET
    drone.launch()
    assert drone.process is not None
    assert drone.process.wait(30) not in (0, None)
    assert "secret" in drone.text()
    assert "Traceback" not in drone.text()


def test_a_second_drone_of_the_same_name_is_refused(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "true")
    twin = cluster.daemon("twin", "drone", "--hub", cluster.hub.amp, "--name", "d1", "--", "true")
    twin.launch()
    assert twin.process is not None
    assert twin.process.wait(30) != 0
    assert "d1" in twin.text()
    assert [row["name"] for row in cluster.json("drones")] == ["d1"]


@pytest.mark.parametrize("kind", ["registry", "hub", "drone"])
def test_a_daemon_that_cannot_start_says_why_in_one_line(cluster: Cluster, kind: str) -> None:
    """A port in use, an empty secret, a state directory that a twin holds or that cannot be made."""
    taken = cluster.hub.amp.rpartition(":")[2]
    needed = ["--hub", cluster.hub.amp, "--name", "x"] if kind == "drone" else ["--port", "0"]
    (cluster.directory / "file").write_text("")
    held = {"registry": cluster.registry, "hub": cluster.hub}.get(kind) or cluster.start_drone("d", "--", "true")
    cases = [
        [*needed, "--state-dir", str(held.state)],
        [*needed, "--state-dir", str(cluster.directory / "file" / "state")],
        [*needed, "--state-dir", str(cluster.directory / "s"), "--secret="],
        [*needed, "--state-dir", str(cluster.directory / "s"), "--log-format", "xml"],
    ]
    if kind != "drone":
        cases.append(["--port", taken, "--state-dir", str(cluster.directory / "s")])
    for arguments in cases:
        done = subprocess.run(
            [str(BIN / "twistd"), "-n", "--pidfile=", f"deployd-{kind}", *arguments],
            env=PYTHON_ENVIRONMENT | {"DEPLOYD_SECRET": SECRET},
            cwd=cluster.directory,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode != 0, arguments
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert done.stderr.strip(), (arguments, done.stdout)
        assert SECRET not in done.stdout + done.stderr


def test_no_drone_is_a_failed_deploy(cluster: Cluster) -> None:
    cluster.repository("webapp", {"a": "b"}).push("webapp")
    assert "drone" in refused(cluster, 1, "deploy", "webapp", "master")


BAD_APPS = {
    "missing": ("Procfile", "http: nosuchprogram --serve", "not found"),
    "exits": ("Procfile", "http: echo I give up; exit 3", "I give up"),
    "never-listens": ("Procfile", "http: exec sleep 1000", "listen"),
    "no-procfile": ("README", "nothing here", "Procfile"),
    "bad-toml": ("deployd.toml", "[roles.http]\ncount = 0", "deployd.toml line 2: roles.http.count is a whole number"),
}


@pytest.mark.parametrize("name", list(BAD_APPS))
def test_an_app_that_cannot_run_fails_its_deploy_with_the_reason(
    running: tuple[Cluster, Repository], name: str
) -> None:
    cluster, _ = running
    drone = another_drone(cluster)
    file, text, reason = BAD_APPS[name]
    repository = cluster.repository(name, {file: text})
    repository.push(name)
    error = refused(cluster, 1, "deploy", name, "master", "--drone", drone, "--timeout", "10")
    assert reason in error, error
    rows = cluster.json("releases", name)
    assert [row["state"] for row in rows] in (["failed"], [])
    until(lambda: repository.head not in cluster.ports(), "no row of it is left")
    until(lambda: not cluster.processes(drone), "what started is stopped")
    # Mended, the same app deploys.
    good = repository.commit({file: "", "Procfile": "http: exec python3 web.py", "web.py": HELLO})
    repository.push(name)
    cluster.deployctl("deploy", name, good, "--drone", drone)
    assert good in cluster.ports()


def test_who_pushes_a_wrong_deployd_toml_is_told_file_and_line(running: tuple[Cluster, Repository]) -> None:
    """It is taken all the same: a branch may hold what is not ready."""
    cluster, _ = running
    toml = "[roles.http]\n\n[roles.http.check]\npath = '/'\ninterval = 'often'\n"
    repository = cluster.repository("wrong", {"Procfile": "http: x", "deployd.toml": toml})
    told = repository.run_git("push", cluster.git_url("wrong"), "master")
    assert told.returncode == 0
    start = f"remote: deployd: master {repository.head[:7]}: "
    assert f"{start}deployd.toml line 5: roles.http.check.interval is a number of seconds" in told.stderr
    assert f"{start}cannot be deployed until this is mended" in told.stderr
    assert "deployd.toml line 5" in refused(cluster, 1, "deploy", "wrong", "master")


def test_a_missing_command_of_the_drones_own_is_named(running: tuple[Cluster, Repository]) -> None:
    cluster, _ = running
    drone = another_drone(cluster, "--", "nosuchprogram")
    error = refused(cluster, 1, "deploy", "webapp", "master", "--drone", drone, "--timeout", "20")
    assert "nosuchprogram" in error


def test_an_app_that_listens_late_is_waited_for(running: tuple[Cluster, Repository]) -> None:
    cluster, _ = running
    drone = another_drone(cluster, "--", "python3", "web.py")
    late = "import select\nselect.select([], [], [], 3)\n" + HELLO
    repository = cluster.repository("late", {"web.py": late})
    repository.push("late")
    cluster.deployctl("deploy", "late", "master", "--drone", drone)
    assert repository.head in cluster.ports()


def test_links_that_lead_outside_are_refused_by_the_checkout(running: tuple[Cluster, Repository]) -> None:
    cluster, _ = running
    drone = another_drone(cluster, "--", "python3", "web.py")
    for number, target in enumerate(("/etc/passwd", "../../../../secret")):
        repository = cluster.repository(f"links{number}", {"web.py": HELLO})
        (repository.path / "link").symlink_to(target)
        repository.commit({})
        repository.push(f"links{number}")
        error = refused(cluster, 1, "deploy", f"links{number}", "master", "--drone", drone, "--timeout", "20")
        assert "link" in error
        assert not list((cluster.directory / drone).rglob("checkouts/**/link"))


def test_a_tree_with_dot_git_or_dots_is_refused_at_the_push(running: tuple[Cluster, Repository]) -> None:
    cluster, _ = running
    for name in (".git", "..", ".GIT", "git~1"):
        repository = cluster.repository(f"tree-{name.strip('.~')}-{len(name)}", {"web.py": HELLO})
        blob = repository.git("rev-parse", "HEAD:web.py")
        entry = b"100644 " + name.encode() + b"\0" + bytes.fromhex(blob)
        done = subprocess.run(
            ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
            cwd=repository.path,
            env=PYTHON_ENVIRONMENT,
            input=entry,
            capture_output=True,
            check=True,
        )
        commit = repository.git("commit-tree", done.stdout.decode().strip(), "-m", "bad")
        pushed = repository.run_git("push", cluster.git_url("badtree"), f"{commit}:refs/heads/master")
        assert pushed.returncode != 0, name
    refused(cluster, 2, "deploy", "badtree", "master")


GARBAGE = {
    "random": bytes(range(256)) * 40,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "nul": b"\0" * 65536,
    "megabyte": b"x" * (1 << 20),
    "newline": b"null\n",
    "half": b"\x00\x04_ask",
    "lines": b'["register","x"]\n["free","w1"]\n',
}


def addresses(cluster: Cluster) -> list[tuple[str, int]]:
    """Every port of every daemon, and of one app."""
    listed = [cluster.hub.amp, cluster.hub.http, cluster.registry.amp, cluster.registry.http]
    return [(host, int(port)) for host, _, port in (address.rpartition(":") for address in listed)]


def test_garbage_on_every_port_harms_nothing(running: tuple[Cluster, Repository]) -> None:
    cluster, _ = running
    for address in addresses(cluster):
        for data in GARBAGE.values():
            with socket.create_connection(address, 5) as connection:
                try:
                    connection.sendall(data)
                except (BrokenPipeError, ConnectionResetError):
                    continue
                # A reset instead of an orderly end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_idle_connections_harm_nothing(running: tuple[Cluster, Repository]) -> None:
    cluster, repository = running
    connections = []
    try:
        for address in addresses(cluster):
            for number in range(500 // len(addresses(cluster))):
                connection = socket.create_connection(address, 5)
                connections.append(connection)
                if number % 2:
                    connection.sendall(b"\0")
        commit = repository.commit({"x": "1"})
        repository.push("webapp")
        cluster.deployctl("deploy", "webapp", commit)
    finally:
        for connection in connections:
            connection.close()


def test_a_hub_or_registry_that_is_down_is_said_at_once(running: tuple[Cluster, Repository]) -> None:
    cluster, _ = running
    nowhere = ("--hub", "127.0.0.1:1")
    assert "127.0.0.1:1" in refused(cluster, 3, *nowhere, "ps")
    assert "127.0.0.1:1" in refused(cluster, 3, "--registry", "127.0.0.1:1", "ports")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        refused(cluster, 3, "--hub", address, "--timeout", "1", "ps")
    refused(cluster, 2, "--hub", "not an address:x", "ps")


def test_environments_hold_what_they_should_and_no_secret(cluster: Cluster) -> None:
    cluster.start_drone("d1", "--", "python3", "env.py")
    repository = cluster.repository(
        "team/app", {"env.py": answering('"\\n".join(f"{k}={v}" for k, v in os.environ.items())')}
    )
    repository.push("team/app")
    cluster.deployctl("deploy", "team/app", "master")
    (row,) = cluster.ports()[repository.head]["http"]
    _, body = get(f"{row['host']}:{row['port']}")
    found = dict(line.split("=", 1) for line in body.splitlines())
    (instance,) = cluster.json("ps")
    url = f"http://{cluster.registry.http}"
    expected = {
        "PORT": str(row["port"]),
        "HOST": "127.0.0.1",
        "COMMIT": repository.head,
        "RELEASE": "v1",
        "REPO": "team/app",
        "ROLE": "http",
        "DRONE_ID": "d1",
        "PROCESS_ID": instance["id"],
        "DEPLOYD_REGISTRY": cluster.registry.amp,
        "DEPLOYD_REGISTRY_URL": url,
        "DEPLOYD_PEERS_URL": f"{url}/v1/ports/{repository.head}?app=team/app&release=v1",
    }
    for name, value in expected.items():
        assert found.get(name) == value, (name, found.get(name))
    assert set(found) - set(expected) <= {"PATH", "HOME", "LANG", "TMPDIR", "LC_CTYPE"}
    assert SECRET not in body


@pytest.mark.parametrize("kind", ["registry", "hub", "drone"])
def test_a_daemon_in_the_background_that_cannot_start_ends_too(cluster: Cluster, kind: str) -> None:
    """The sentence is in the log; the waiting command ends, and leaves no pid file."""
    (cluster.directory / "file").write_text("")
    needed = ["--hub", cluster.hub.amp] if kind == "drone" else ["--port", "0"]
    log, pidfile = cluster.directory / "background.log", cluster.directory / "background.pid"
    command = [str(BIN / "twistd"), "--pidfile", str(pidfile), "--logfile", str(log), f"deployd-{kind}", *needed]
    command += ["--state-dir", str(cluster.directory / "file" / "state")]
    environment = PYTHON_ENVIRONMENT | {"DEPLOYD_SECRET": SECRET}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "state directory" in log.read_text()
    # The command does not wait until the daemon has taken it away.
    until(lambda: not pidfile.exists(), "the pid file is gone")


def test_the_hub_is_reached_through_a_unix_socket(cluster: Cluster) -> None:
    path = cluster.directory / "hub.sock"
    cluster.hub.stop()
    cluster.hub._arguments += ["--listen", f"unix:{path}"]
    cluster.hub.start()
    assert cluster.hub.amp == f"unix:{path}"
    cluster.start_drone("d1", "--", "python3", "web.py")
    repository = cluster.repository("webapp", {"web.py": HELLO})
    repository.push("webapp")
    repository.git("remote", "add", "deployd", cluster.git_url("webapp"))
    cluster.deployctl("deploy", cwd=repository.path)
    assert set(cluster.ports()) == {repository.head}
