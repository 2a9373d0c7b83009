"""Ending real processes that flee, refuse and multiply, on a machine on which a keeper has marked them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from deployd.processes.census import Census
from deployd.processes.custody import PROC, holding, listening
from deployd.processes.ending import end
from deployd.processes.marks import mark
from deployd.processes.trees import ProcessRef, alive, find, quell, reference

PATH = os.environ["PATH"]
# All that is ended here would end by itself, but only after this.
OWN_END = 55.0


class App:
    """One app as the keeper starts it: in a session of its own, marked."""

    def __init__(self) -> None:
        self.instance = f"http-{uuid4().hex[:10]}"
        self.started: list[subprocess.Popen[bytes]] = []
        self.session: ProcessRef | None = None

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            env={"PATH": PATH, "PROCESS_ID": self.instance},
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self._bear,
        )
        self.started.append(process)
        self.session = reference(process.pid)
        return process

    def python(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start(sys.executable, "-c", program, *arguments)

    def said(self) -> bytes:
        assert self.started[-1].stdout
        return self.started[-1].stdout.readline().strip()

    def left(self) -> frozenset[ProcessRef]:
        return find(self.instance, self.session)

    async def end(self, grace: float = 10.0) -> float:
        """Seconds that it took."""
        begun = reactor.seconds()
        await end(reactor, Census(deferToThread), self.instance, self.session, grace)
        assert self.left() == frozenset()
        return float(reactor.seconds() - begun)

    def close(self) -> None:
        quell(self.instance, self.session)
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def _bear(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        resource.setrlimit(resource.RLIMIT_RTTIME, (mark(self.instance), hard))


def _of_this_user() -> int:
    """Processes and threads, all of which count."""
    found = 0
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == os.getuid():
                found += len(list((process / "task").iterdir()))
    return found


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    made.close()


async def until(condition) -> None:
    limit = reactor.seconds() + 30
    while not condition():
        assert reactor.seconds() < limit, "it never comes"
        await deferLater(reactor, 0.005)


FLED = """
import os, signal, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"%d\\n" % os.getpid())
os.chdir("/")
os.closerange(0, 1000)
os.execve("/bin/sleep", ["sleep", "60"], {})
"""


@pytest_twisted.ensureDeferred
async def test_who_has_left_parent_session_environment_and_descriptors_is_found_and_ended(app: App) -> None:
    process = app.python(FLED)
    fled = int(app.said())
    process.wait()
    await until(lambda: Path(f"/proc/{fled}/environ").read_bytes() == b"")
    assert list(Path(f"/proc/{fled}/fd").iterdir()) == []
    assert {ref.pid for ref in find(app.instance)} == {fled}
    assert 0.2 <= await app.end(grace=0.2) < OWN_END


@pytest_twisted.ensureDeferred
async def test_every_way_to_flee_ends_alike(app: App) -> None:
    app.start(
        "sh",
        "-c",
        "setsid sleep 60 & (env -i sleep 60 &); (setsid env -i sleep 60 &);"
        " (trap '' TERM; sleep 60 & echo up; wait) & sleep 60",
    )
    app.said()
    await until(lambda: len(app.left()) >= 7)
    assert await app.end(grace=0.3) < OWN_END


@pytest_twisted.ensureDeferred
async def test_each_process_is_signalled_once(app: App) -> None:
    app.python("""
import signal, time, os
os.fork()
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"T"))
os.write(1, b"up\\n")
while True: signal.pause()
""")
    assert [app.said(), app.said()] == [b"up", b"up"]
    await app.end(grace=0.4)
    assert app.started[0].stdout.read() == b"TT"


def test_another_instances_mark_is_not_met(app: App) -> None:
    app.start("env", "-i", "sleep", "60")
    assert find(app.instance + "0") == frozenset()
    assert {ref.pid for ref in find(app.instance)} == {app.started[0].pid}


def test_the_keeper_is_spared_though_it_bears_the_mark_and_is_the_parent(app: App) -> None:
    app.python("""
import os, signal, subprocess
print(subprocess.Popen(["sleep", "60"], env={}, start_new_session=True).pid, flush=True)
signal.pause()
""")
    child = int(app.said())
    keeper = app.started[0].pid
    assert {ref.pid for ref in find(app.instance)} == {keeper, child}
    assert {ref.pid for ref in find(app.instance, spared=(keeper,))} == {child}
    quell(app.instance, reference(child), (keeper,))
    assert app.started[0].poll() is None


BOMB = """
import os, resource, sys, time
most, limit = int(sys.argv[1]), time.monotonic() + 60
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
if os.getuid() == 0:
    os.setuid(50000 + os.getpid() % 10000)  # root has no limit
os.write(1, b"up\\n")
while time.monotonic() < limit:
    try:
        os.fork()
    except OSError:
        time.sleep(0.001)
"""


@pytest_twisted.ensureDeferred
async def test_what_forks_as_fast_as_it_can_is_ended(app: App) -> None:
    """Up to its limit of processes, and again as soon as one of them has died."""
    app.python(BOMB, str(100 + (_of_this_user() if os.getuid() else 0)))
    app.said()
    await until(lambda: len(app.left()) >= 90)
    assert await app.end(grace=0) < OWN_END


@pytest_twisted.ensureDeferred
async def test_what_forks_as_fast_as_it_can_is_quelled_in_one_go(app: App) -> None:
    app.python(BOMB, str(100 + (_of_this_user() if os.getuid() else 0)))
    app.said()
    await until(lambda: len(app.left()) >= 90)
    quell(app.instance, app.session)
    await deferLater(reactor, 0.1)
    assert app.left() == frozenset()


HOPPER = """
import os, time
limit = time.monotonic() + 60
os.write(1, b"up\\n")
while time.monotonic() < limit:
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.001)
"""


@pytest_twisted.ensureDeferred
async def test_what_is_always_its_own_child_is_caught(app: App) -> None:
    process = app.python(HOPPER)
    app.said()
    process.wait()
    await deferLater(reactor, 0.1)
    assert await app.end(grace=0) < OWN_END


@pytest_twisted.ensureDeferred
async def test_many_that_end_at_once_share_their_looks() -> None:
    looks = 0

    def to_thread(function, *arguments):
        nonlocal looks
        looks += 1
        return deferToThread(function, *arguments)

    apps = [App() for _ in range(40)]
    try:
        for app in apps:
            app.start("sleep", "60")
        census = Census(to_thread)
        await gatherResults([end(reactor, census, app.instance, app.session, 10.0) for app in apps])
        assert not alive([app.session for app in apps])
        assert looks < 40
    finally:
        for app in apps:
            app.close()


PREFORK = """
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
workers = [os.fork() for _ in range(3)]
if 0 not in workers:
    print(server.getsockname()[1], flush=True)
    if len(sys.argv) > 1:
        server.close()
while True:
    server.accept()[0].close() if 0 in workers else time.sleep(60)
"""


@pytest.mark.parametrize("master", ["holds it too", "only its workers hold it"])
def test_the_socket_of_a_preforking_server_is_its_own(app: App, master: str) -> None:
    app.python(PREFORK, *(["close"] if "only" in master else []))
    port = int(app.said())
    first = app.started[0].pid
    found = holding(PROC, ("127.0.0.1", port), first, tuple)
    assert (found.known, found.stranger) == (True, 0)
    assert listening(PROC, first, tuple) == (f"127.0.0.1:{port}",)


def test_the_socket_of_a_daemon_that_has_left_its_parent_is_its_own(app: App) -> None:
    fork = "import os\nif os.fork(): os._exit(0)\nos.setsid()\n"
    process = app.python(fork + PREFORK)
    port = int(app.said())
    process.wait()
    found = holding(PROC, ("127.0.0.1", port), process.pid, app.left)
    assert (found.known, found.stranger) == (True, 0)
    assert listening(PROC, process.pid, tuple) == ()
    assert listening(PROC, process.pid, app.left) == (f"127.0.0.1:{port}",)


def test_a_look_at_the_machine_is_cheap() -> None:
    """Some 4 microseconds a process; no more than 100 here, where others work too."""
    find("http-1")
    begun = time.thread_time()
    find("http-1")
    assert time.thread_time() - begun < 0.0001 * len(list(Path("/proc").iterdir()))
