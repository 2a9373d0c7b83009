"""Real processes: started, heard, checked and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from deployd import errors
from deployd.processes.exits import Exit
from deployd.processes.ports import Ports
from tests.integration.apps import PATH, App, keeper, linked, until

ORDERLY = """
import signal
signal.signal(signal.SIGTERM, lambda *_: exit(print("orderly", flush=True)))
print("up", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("state")
    with keeper(directory):
        yield directory


@pytest_twisted.async_yield_fixture
async def app(state: Path, tmp_path: Path) -> AsyncIterator[App]:
    async with linked(state) as keeping:
        app = App(keeping, state, tmp_path)
        yield app
        app.kill()


@pytest_twisted.ensureDeferred
async def test_an_app_finds_its_environment_and_nothing_else(app: App) -> None:
    await app.start("/usr/bin/env", env={"A": "b = c"})
    await app.exit()
    assert sorted(app.text.splitlines()) == sorted([f"PATH={PATH}", f"PROCESS_ID={app.instance}", "A=b = c"])


@pytest_twisted.ensureDeferred
async def test_an_app_leads_its_own_session_and_has_three_descriptors(app: App) -> None:
    """Nothing of what the daemon has open, sockets and state least of all, passes to it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as secret:
        os.set_inheritable(secret.fileno(), True)
        process = await app.sh("ls /proc/$$/fd; readlink /proc/$$/fd/0; cut -d' ' -f1,6 /proc/$$/stat; :")
        await app.exit()
    assert app.text.split() == ["0", "1", "2", "/dev/null", str(process.pid), str(process.pid)]


@pytest_twisted.ensureDeferred
async def test_the_command_is_taken_word_for_word(app: App) -> None:
    """A command with = or a leading -, found in the directory or in a PATH that counts from it."""
    for name in ("A=b", "-x"):
        (app.directory / name).write_text('#!/bin/sh\necho "ran $0 $1"\n')
        (app.directory / name).chmod(0o755)
        app.exits.clear()
        await app.start(name, "--help", env={"PATH": f".:{PATH}"})
        assert await app.exit() == Exit(0)
        assert f"{name} --help" in app.text


@pytest_twisted.ensureDeferred
async def test_an_app_that_exits_at_once_reports_code_and_last_words(app: App) -> None:
    await app.python("import sys; print('starting'); sys.exit('no database')")
    assert await app.exit() == Exit(1)
    assert sorted(app.text.splitlines()) == ["no database", "starting"]


@pytest_twisted.ensureDeferred
async def test_an_app_that_obeys_ends_soon(app: App) -> None:
    await app.sh("echo up; exec sleep 60")
    await app.said("up")
    assert await app.end(grace=60) < 60
    assert (await app.exit()).signal == signal.SIGTERM


@pytest_twisted.ensureDeferred
async def test_a_shell_and_what_it_runs_both_get_the_signal(app: App) -> None:
    """A shell does not pass TERM on; its child would be left to KILL."""
    (app.directory / "app.py").write_text(ORDERLY)
    await app.sh(f"{sys.executable} app.py; true")
    await app.said("up")
    await app.end()
    await app.said("orderly")
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_an_app_that_ignores_term_is_killed_after_its_grace(app: App) -> None:
    await app.sh("trap '' TERM; echo up; while :; do sleep 0.05; done")
    await app.said("up")
    assert await app.end(grace=0.3) >= 0.3
    assert (await app.exit()).signal == signal.SIGKILL
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_grandchildren_that_fled_are_ended(app: App) -> None:
    """One by setsid and a double fork, one that cleared its environment too; both ignore TERM."""
    await app.sh(
        "trap '' TERM; (setsid sh -c 'sleep 61 & echo $!' &); (env -i sleep 62 & echo $!); sleep 0.1; echo up; sleep 63"
    )
    await app.said("up")
    await until(lambda: app.left() == 4)
    await app.end(grace=0.2)
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_what_a_dead_app_left_behind_is_ended(app: App) -> None:
    await app.sh("setsid sleep 60 & echo up; exit 1")
    assert await app.exit() == Exit(1)
    assert app.left() == 1
    await app.end()
    assert app.left() == 0


@pytest_twisted.ensureDeferred
async def test_what_starts_while_it_ends_is_ended(app: App) -> None:
    await app.sh("trap 'setsid sleep 60 & exit' TERM; echo up; while :; do sleep 0.01; done")
    await app.said("up")
    await app.end(grace=0.3)
    assert app.left() == 0


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
