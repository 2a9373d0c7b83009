"""Real processes: started, heard, checked and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_twisted
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from deployd import errors
from deployd.drone.logs import Log
from deployd.processes.census import Census
from deployd.processes.ending import end
from deployd.processes.ports import Ports
from deployd.processes.readiness import by_address, until_listening
from deployd.processes.running import AppProcess, Exit, start
from deployd.processes.trees import find, signal_all

PATH = os.environ["PATH"]


ORDERLY = """
import signal
signal.signal(signal.SIGTERM, lambda *_: exit(print("orderly", flush=True)))
print("up", flush=True)
while True:
    signal.pause()
"""


@define
class App:
    """One real app in a directory of its own, with everything it says and how it ends."""

    directory: Path
    instance: str = field(factory=lambda: f"http-{uuid4().hex[:10]}")
    exits: list[Exit] = field(factory=list)
    process: AppProcess | None = None
    log: Log = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = Log(self.path)

    @property
    def path(self) -> Path:
        return self.directory / "output"

    @property
    def text(self) -> str:
        return self.log.tail()

    def start(self, *argv: str, env: dict[str, str] | None = None) -> AppProcess:
        variables = {"PATH": PATH, "PROCESS_ID": self.instance} | (env or {})
        output = self.log.open()
        self.process = start(reactor, argv, variables, str(self.directory), output, self.exits.append)
        os.close(output)
        return self.process

    def sh(self, script: str) -> AppProcess:
        return self.start("/bin/sh", "-c", script)

    def python(self, program: str) -> AppProcess:
        return self.start(sys.executable, "-c", program)

    async def end(self, grace: float = 10) -> float:
        """Seconds that it took."""
        before = reactor.seconds()
        await end(reactor, Census(deferToThread), self.instance, self.process and self.process.ref, grace)
        return float(reactor.seconds() - before)

    def left(self) -> int:
        return len(find(self.instance, self.process and self.process.ref))

    async def said(self, text: str) -> None:
        await until(lambda: text in self.text)

    async def exit(self) -> Exit:
        await until(lambda: bool(self.exits))
        return self.exits[0]


async def until(condition: Callable[[], bool]) -> None:
    limit = reactor.seconds() + 10
    while not condition():
        assert reactor.seconds() < limit, "it never comes"
        await deferLater(reactor, 0.005)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path)
    yield app
    signal_all(find(app.instance, app.process and app.process.ref), signal.SIGKILL)


@pytest_twisted.ensureDeferred
async def test_an_app_finds_its_environment_and_nothing_else(app: App) -> None:
    app.start("/usr/bin/env", env={"A": "b = c"})
    await app.exit()
    assert sorted(app.text.splitlines()) == sorted([f"PATH={PATH}", f"PROCESS_ID={app.instance}", "A=b = c"])


@pytest_twisted.ensureDeferred
async def test_an_app_leads_its_own_session_and_has_three_descriptors(app: App) -> None:
    """Nothing of what the daemon has open, sockets and state least of all, passes to it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as secret:
        os.set_inheritable(secret.fileno(), True)
        process = app.sh("ls /proc/$$/fd; readlink /proc/$$/fd/0; cut -d' ' -f1,6 /proc/$$/stat; :")
        await app.exit()
    assert app.text.split() == ["0", "1", "2", "/dev/null", str(process.pid), str(process.pid)]


@pytest_twisted.ensureDeferred
async def test_the_command_is_taken_word_for_word(app: App) -> None:
    """A command with = or a leading -, found in the directory or in a PATH that counts from it."""
    for name in ("A=b", "-x"):
        (app.directory / name).write_text('#!/bin/sh\necho "ran $0 $1"\n')
        (app.directory / name).chmod(0o755)
        app.exits.clear()
        app.start(name, "--help", env={"PATH": f".:{PATH}"})
        assert await app.exit() == Exit(0)
        assert f"{name} --help" in app.text


@pytest_twisted.ensureDeferred
async def test_an_app_that_exits_at_once_reports_code_and_last_words(app: App) -> None:
    app.python("import sys; print('starting'); sys.exit('no database')")
    assert await app.exit() == Exit(1)
    assert sorted(app.text.splitlines()) == ["no database", "starting"]


@pytest_twisted.ensureDeferred
async def test_an_app_that_is_cut_while_it_prints_goes_on(app: App) -> None:
    """And nothing of it comes by this process: it takes no time here, and no memory."""
    app.log = Log(app.directory / "output", size=10_000)
    app.start("yes")
    for _ in range(3):
        await until(lambda: app.path.stat().st_size > 10_000)
        assert await deferToThread(app.log.cut)
        assert app.path.with_name("output.1").stat().st_size == 10_000
    await app.said("y\ny")
    await app.end()
    assert app.path.stat().st_blocks * 512 <= app.path.stat().st_size + 10_000, "no hole where the cut part was"


@pytest_twisted.ensureDeferred
async def test_an_app_that_obeys_ends_soon(app: App) -> None:
    app.sh("echo up; exec sleep 60")
    await app.said("up")
    assert await app.end() < 1
    assert (await app.exit()).signal == signal.SIGTERM


@pytest_twisted.ensureDeferred
async def test_a_shell_and_what_it_runs_both_get_the_signal(app: App) -> None:
    """A shell does not pass TERM on; its child would be left to KILL."""
    (app.directory / "app.py").write_text(ORDERLY)
    app.sh(f"{sys.executable} app.py; true")
    await app.said("up")
    await app.end()
    await app.said("orderly")
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_an_app_that_ignores_term_is_killed_after_its_grace(app: App) -> None:
    app.sh("trap '' TERM; echo up; while :; do sleep 0.05; done")
    await app.said("up")
    assert 0.3 <= await app.end(grace=0.3) < 3
    assert (await app.exit()).signal == signal.SIGKILL
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_grandchildren_that_fled_are_ended(app: App) -> None:
    """One by setsid and a double fork, one that cleared its environment too; both ignore TERM."""
    app.sh(
        "trap '' TERM; (setsid sh -c 'sleep 61 & echo $!' &); (env -i sleep 62 & echo $!); sleep 0.1; echo up; sleep 63"
    )
    await app.said("up")
    await until(lambda: app.left() == 4)
    await app.end(grace=0.2)
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_what_a_dead_app_left_behind_is_ended(app: App) -> None:
    app.sh("setsid sleep 60 & echo up; exit 1")
    assert await app.exit() == Exit(1)
    assert app.left() == 1
    await app.end()
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_what_starts_while_it_ends_is_ended(app: App) -> None:
    app.sh("trap 'setsid sleep 60 & exit' TERM; echo up; while :; do sleep 0.01; done")
    await app.said("up")
    await app.end(grace=0.3)
    assert app.left() == 0


LATE = """
import os, socket, time
time.sleep(0.1)
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
time.sleep(60)
"""


@pytest_twisted.ensureDeferred
async def test_a_late_listener_is_met_as_soon_as_it_listens(app: App) -> None:
    port = free_port()
    app.start(sys.executable, "-c", LATE, env={"HOST": "0.0.0.0", "PORT": str(port)})
    await until_listening(reactor, by_address(reactor), "0.0.0.0", port, 10)
    await app.end()


@pytest_twisted.ensureDeferred
async def test_an_app_that_never_listens_is_given_up(app: App) -> None:
    with pytest.raises(errors.NoAnswer, match=r"after 0\.2 s \(connection refused\)"):
        await until_listening(reactor, by_address(reactor), "127.0.0.1", free_port(), 0.2)


def test_a_killed_drone_frees_its_claims_and_only_then() -> None:
    """Two processes on one host, one range."""
    first = 18000 + os.getpid() % 500 * 4
    program = f"""
from twisted.internet.task import Clock
from deployd.processes.ports import Ports
ports = Ports({first}, {first + 3}, Clock())
print(sum(bool(ports.allocate()) for _ in range(4)), flush=True)
import signal; signal.pause()
"""
    ports = Ports(first, first + 3, Clock())
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as drone:
        assert drone.stdout
        assert drone.stdout.readline() == b"4\n"
        with pytest.raises(errors.Refused, match="4 are taken by other programs"):
            ports.allocate()
        drone.kill()
        drone.wait()
    assert sorted(ports.allocate().number for _ in range(4)) == list(range(first, first + 4))
    ports.close()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])
