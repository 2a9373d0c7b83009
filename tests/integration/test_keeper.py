"""A real keeper, real apps, and drones that come and go."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from deployd.errors import Refused
from deployd.keeper.relay import BURST, RATE
from deployd.model.role import Limits
from deployd.processes.exits import Exit
from deployd.processes.marks import mark
from deployd.processes.records import MAX_DATA
from deployd.wire.keeping import Launch
from tests.integration.apps import PATH, App, keeper, link, linked, until

K, M = 1024, 1024 * 1024
APP_BUDGET, ALL_BUDGET = 2 * M, 4 * M


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("state")
    with keeper(directory, APP_BUDGET, ALL_BUDGET):
        yield directory


@pytest_twisted.async_yield_fixture
async def app(state: Path, tmp_path: Path) -> AsyncIterator[App]:
    async with linked(state) as keeping:
        app = App(keeping, state, tmp_path)
        yield app
        app.kill()
        await until(lambda: app.keeping.take_over(app.instance, lambda how: None) is None or bool(app.exits))
        app.keeping.forget(app.instance)


def descriptors(pid: int) -> int:
    """How many a keeper has open; only root can see that."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir())) if os.geteuid() == 0 else 0


def children(parent: int) -> set[int]:
    return {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if stat(pid)[1:2] == [str(parent)]}  # noqa: PTH208


def listened(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def stat(pid: int) -> list[str]:
    """State, parent and more; nothing once it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


# Starts and ends.


@pytest_twisted.ensureDeferred
async def test_how_it_ends_is_told_and_in_the_log(app: App) -> None:
    for script, how, words in (
        ("exit 0", Exit(0), "exited with code 0"),
        ("exit 3", Exit(3), "exited with code 3"),
        ("kill -KILL $$", Exit(None, signal.SIGKILL), "was ended by SIGKILL"),
    ):
        app.exits.clear()
        held = await app.sh(script)
        assert await app.exit() == how
        assert app.words[-2:] == [f"started, pid {held.pid}", words]
    assert len(app.exits) == 1


@pytest_twisted.ensureDeferred
async def test_both_streams_are_kept_apart_with_their_times(app: App) -> None:
    before = time.time()
    await app.sh("echo out; echo err >&2; sleep 0.1; echo late")
    await app.exit()
    # The news of an end does not wait long for a slow disk.
    await until(lambda: app.words[-1:] == ["exited with code 0"])
    printed = [(record.stream, record.data) for record in app.records() if record.stream]
    assert sorted(printed) == [(1, b"late\n"), (1, b"out\n"), (2, b"err\n")]
    stamps = [record.stamp / 1e6 for record in app.records()]
    assert stamps == sorted(stamps)
    assert before - 1 < stamps[0] < stamps[-1] - 0.05 < time.time()


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_started_says_why(app: App) -> None:
    (app.directory / "plain").write_text("no program")
    (app.directory / "noexec").write_text("x")
    (app.directory / "plain").chmod(0o755)
    for argv, why in (
        (("no-such-command",), "no-such-command cannot be started: command not found on this drone"),
        (("./absent",), "./absent cannot be started: no such file or directory"),
        (("./noexec",), "./noexec cannot be started: permission denied"),
        (("./plain",), "./plain cannot be started: it is no program and has no #! line"),
        (("echo", "a\0b"), "a NUL"),
    ):
        with pytest.raises(Refused, match=why):
            await app.start(*argv)
    app.directory = app.directory / "gone"
    with pytest.raises(Refused, match=r"cannot run anything in .*gone"):
        await app.sh("true")


@pytest_twisted.ensureDeferred
async def test_an_app_has_default_signals_its_limits_and_no_secret_of_the_keepers(app: App) -> None:
    await app.sh("cat /proc/$$/status | grep -E 'SigIgn|SigBlk'; umask; ulimit -Sn; env | grep -c PYTHON; pwd")
    await app.exit()
    blocked, ignored, umask, files, python, cwd = app.text.split("\n")[:6]
    assert int(blocked.split()[1], 16) == 0
    # The C library itself leaves the two that it uses ignored; whoever needs them takes them.
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0
    assert (umask, python, cwd) == ("0022", "0", str(app.directory))
    assert int(files) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest_twisted.ensureDeferred
async def test_an_app_of_another_user_can_open_its_output(app: App) -> None:
    app.directory = Path("/")
    await app.start(
        "setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", "id -u >/dev/stdout; echo err >/dev/stderr"
    )
    await app.exit()
    assert sorted(record.data for record in app.records() if record.stream) == [b"65534\n", b"err\n"]


@pytest_twisted.ensureDeferred
async def test_an_apps_limits_are_in_force(app: App) -> None:
    launch = evolve(app.launch("/bin/sh", "-c", "ulimit -n; ulimit -d"), limits=Limits(memory=512 * M, files=64))
    await app.keeping.start(launch, app.exits.append)
    await app.exit()
    assert app.text.split() == ["64", str(512 * K)]


@pytest_twisted.ensureDeferred
async def test_it_is_attached_to_the_descriptors_that_it_is_given(app: App) -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        before = descriptors(app.keeping.pid)
        number = theirs.fileno()
        launch = app.launch("/bin/sh", "-c", "read word; echo got $word; ls /proc/$$/fd; exit 4")
        await app.keeping.attach(launch, (number, number, number), app.exits.append)
        theirs.close()
        ours.sendall(b"hello\n")
        assert await app.exit() == Exit(4)
        said = ours.recv(K)
        while more := ours.recv(K):
            said += more
    assert said.decode().split() == ["got", "hello", "0", "1", "2"]
    assert app.words[-1] == "exited with code 4"
    # But for the log that it has opened.
    assert descriptors(app.keeping.pid) <= before + 1


@pytest_twisted.ensureDeferred
async def test_an_end_is_seen_at_once_though_something_holds_its_output(app: App) -> None:
    held = await app.sh("sleep 61 & exec sleep 60")
    await until(lambda: app.left() == 2)
    os.kill(held.pid, signal.SIGKILL)
    await app.exit()
    assert app.left() == 1, "what holds it"


@pytest_twisted.ensureDeferred
async def test_a_child_that_fled_and_cleared_its_environment_is_found_by_its_mark(app: App) -> None:
    program = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3, 100):
            try: os.close(fd)
            except OSError: pass
        os.execve("/bin/sleep", ["sleep", "64"], {})
    os._exit(0)
"""
    await app.python(program)
    assert await app.exit() == Exit(0)
    # The one between the two may not have ended yet, or not even begun.
    await until(lambda: [command(pid) for pid in bearers(app.instance)] == [b"sleep\x0064\0"])
    (left,) = bearers(app.instance)
    assert left in children(app.keeping.pid), "the keeper has adopted it"
    await app.end(grace=0)
    await until(lambda: not Path(f"/proc/{left}").exists())


def bearers(instance: str) -> list[int]:
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if marked(pid, instance)]  # noqa: PTH208


def command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def marked(pid: int, instance: str) -> bool:
    with suppress(OSError):
        return resource.prlimit(pid, resource.RLIMIT_RTTIME)[0] == mark(instance)
    return False


@pytest_twisted.ensureDeferred
async def test_hundreds_of_starts_leave_nothing(app: App) -> None:
    pid, ends = app.keeping.pid, []
    before, kept = descriptors(pid), children(pid)
    ids = [f"many-{number}" for number in range(200)]
    starts = [
        app.keeping.start(Launch(id, ("true",), {"PATH": PATH}, "/", f"many/v1-abc/{id}"), ends.append) for id in ids
    ]
    await gatherResults(starts, consumeErrors=True)
    await until(lambda: len(ends) == 200)
    assert ends == [Exit(0)] * 200
    for id in ids:
        app.keeping.forget(id)
    await until(lambda: children(pid) == kept)
    # Open logs are kept open for a while.
    await until(lambda: descriptors(pid) <= before + 128)
    assert not [held for held in app.keeping.held() if held.id in ids]


@pytest_twisted.ensureDeferred
async def test_a_keeper_of_many_apps_has_room_for_all_and_they_get_the_limit_that_was(tmp_path: Path) -> None:
    """A hundred apps have two hundred pipes."""
    with keeper(tmp_path, files=100):
        async with linked(tmp_path) as keeping:
            launches = [
                Launch(f"a-{number}", ("sleep", "60"), {"PATH": PATH}, "/", f"a/v1-abc/{number}")
                for number in range(100)
            ]
            ends: list[Exit] = []
            held = await gatherResults([keeping.start(each, ends.append) for each in launches], consumeErrors=True)
            assert {resource.prlimit(each.pid, resource.RLIMIT_NOFILE)[0] for each in held} == {100}
            # The loader of a program that has just been started has a library open for a moment.
            await until(lambda: all(os.listdir(f"/proc/{each.pid}/fd") == ["0", "1", "2"] for each in held))  # noqa: PTH208
            for each in held:
                os.kill(each.pid, signal.SIGKILL)
            await until(lambda: len(ends) == 100)


# Sockets.

SERVER = """
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
server = socket.socket(fileno=3)
print("up", flush=True)
for _ in range(2):
    connection, _ = server.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""


@pytest_twisted.ensureDeferred
async def test_a_socket_outlives_its_process_and_no_connection_is_dropped(app: App) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    answers, pids = [], []
    waiting: list[socket.socket] = []
    for _ in range(3):
        # Those of the second and third round come while nobody is there to accept them.
        app.exits.clear()
        held = await app.start(sys.executable, "-c", SERVER, listen=f"127.0.0.1:{port}")
        assert held.socket
        pids.append(held.pid)
        if not waiting:
            waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        assert await app.exit() == Exit(0)
        for connection in waiting:
            with closing(connection):
                answers.append(int(connection.recv(100)))
        waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    assert answers == [pid for pid in pids for _ in range(2)]
    app.keeping.unlisten(app.instance)
    await until(lambda: not listened(port))
    for connection in waiting:
        connection.close()


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken_is_refused(app: App) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            await app.start("true", listen=f"127.0.0.1:{port}")


# Logs.


@pytest_twisted.ensureDeferred
async def test_a_chatty_app_is_slowed_and_others_are_not(app: App) -> None:
    chatty = App(app.keeping, app.state, app.directory)
    await chatty.start("yes")
    start = time.monotonic()
    await deferLater(reactor, 0.7)
    for _ in range(3):
        app.exits.clear()
        held = await app.start("sleep", "60")
        os.kill(held.pid, signal.SIGKILL)
        await app.exit()
    assert chatty.held
    printed = int(Path(f"/proc/{chatty.held.pid}/io").read_text().split()[3])
    assert printed <= BURST + RATE * (1 + time.monotonic() - start)
    chatty.kill()
    await chatty.exit()


@pytest_twisted.ensureDeferred
async def test_logs_stay_within_their_budgets(app: App) -> None:
    others = [App(app.keeping, app.state, app.directory) for _ in range(3)]
    for number, other in enumerate(others):
        launch = other.launch("/bin/sh", "-c", "head -c 6000000 /dev/zero; echo the end")
        await other.keeping.start(
            Launch(launch.id, launch.argv, launch.env, launch.cwd, f"x{number}/v1-a/{number}"), other.exits.append
        )
    for other in others:
        await until(lambda other=other: bool(other.exits))  # type: ignore[misc]
    sizes = {
        each.name: sum(path.stat().st_size for path in each.rglob("*.log")) for each in (app.state / "logs").iterdir()
    }
    assert max(sizes.values()) <= APP_BUDGET
    assert APP_BUDGET < sum(sizes.values()) <= ALL_BUDGET
    last = max((app.state / "logs" / "x2").rglob("*.log")).read_bytes()
    assert b"the end\n" in last[-MAX_DATA:]


# Drones and keepers that die.

DRONE = """
import sys
from pathlib import Path
from twisted.internet import reactor
from deployd.drone.keeper_process import KeeperProcess
from deployd.drone.keeping import Keeping
from deployd.wire.keeping import Launch
keeping = Keeping(reactor, KeeperProcess(reactor, Path(sys.argv[1])))
async def main():
    await keeping.begin()
    for id, code in (("first", 5), ("second", 6)):
        script = f"while ! test -e {id}; do sleep 0.05; done; exit {code}"
        launch = Launch(id, ("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"}, sys.argv[1], "app/v1-abc/" + id)
        await keeping.start(launch, print)
    print("started", keeping.pid, flush=True)
from twisted.internet.defer import Deferred
reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))
reactor.run()
"""


@pytest_twisted.ensureDeferred
async def test_a_drone_that_is_killed_leaves_its_apps_and_the_next_one_takes_them_over(tmp_path: Path) -> None:
    words = [sys.executable, "-c", DRONE, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | {"DEPLOYD_SECRET": "hush"}) as drone:
        assert drone.stdout
        pid = int(drone.stdout.readline().split()[1])
        drone.kill()
    assert os.getsid(pid) == pid
    environment = Path(f"/proc/{pid}/environ")
    assert b"hush" not in (environment.read_bytes() if os.geteuid() == 0 else b"")
    # One ends while there is no drone, the other one under the next.
    (tmp_path / "first").touch()
    log = tmp_path / "logs" / "app" / "v1-abc" / "first"
    await until(lambda: any(b"exited with code 5" in path.read_bytes() for path in log.glob("*.log")))
    async with linked(tmp_path) as keeping:
        assert keeping.pid == pid
        heard: list[Exit] = []
        first, second = (keeping.take_over(id, heard.append) for id in ("first", "second"))
        assert first is not None
        assert second is not None
        assert (first.code, second.ended) == (5, 0.0)
        (tmp_path / "second").touch()
        await until(lambda: bool(heard))
        assert heard == [Exit(6)]
        for id in ("first", "second"):
            keeping.forget(id)
        await keeping.quit()
        await until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    return stat(pid)[:1] not in ([], ["Z"])


@pytest_twisted.ensureDeferred
async def test_a_killed_keeper_is_told_as_lost_and_a_new_one_starts(tmp_path: Path) -> None:
    async with linked(tmp_path) as keeping:
        app = App(keeping, tmp_path, tmp_path)
        await app.start("sleep", "60")
        await until(lambda: bool(app.words))
        pid = keeping.pid
        os.kill(pid, signal.SIGKILL)
        assert await app.exit() == Exit(None, None)
        assert app.left() == 1
        await app.end(grace=0)
        await until(lambda: keeping.pid != pid)
        app.exits.clear()
        await app.sh("echo again")
        assert await app.exit() == Exit(0)
        stamps = [record.stamp for record in app.records()]
        assert stamps == sorted(stamps)
        assert (app.text, len(app.words)) == ("again\n", 3)
        keeping.forget(app.instance)
        new = keeping.pid
        await keeping.quit()
        await until(lambda: not alive(new))


@pytest_twisted.ensureDeferred
async def test_signals_to_the_keeper_end_no_app(app: App) -> None:
    await app.start("sleep", "60")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(app.keeping.pid, number)
    await deferLater(reactor, 0.1)
    assert alive(app.keeping.pid)
    await app.end(grace=0)
    assert await app.exit() == Exit(None, signal.SIGKILL)


@pytest_twisted.ensureDeferred
async def test_there_is_one_keeper_however_many_are_started(tmp_path: Path) -> None:
    before = children(os.getpid())

    def started() -> list[int]:
        return [pid for pid in children(os.getpid()) - before if alive(pid)]

    first, second = link(tmp_path), link(tmp_path)
    try:
        await gatherResults([first.begin(), second.begin()], consumeErrors=True)
        assert first.pid == second.pid
        # The other one may not have begun yet: it would find no keeper once this one has ended.
        await until(lambda: len(started()) == 1)
        await first.leave()
        await until(lambda: second._link.peer is not None)
        await second.quit()
        await until(lambda: not started())
    finally:
        await gatherResults([Deferred.fromCoroutine(each.leave()) for each in (first, second)])
