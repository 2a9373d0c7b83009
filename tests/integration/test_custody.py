"""Real processes on one port: who holds it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO
from uuid import uuid4

import pytest
from attrs import define, field

from deployd.processes.custody import PROC, Holding, holding, listening, queued
from deployd.processes.trees import find, reference

LISTENER = """
import os, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
if len(sys.argv) > 2 and os.fork():
    listener.close()
print(listener.fileno() != -1 and listener.getsockname()[1] or "", flush=True)
sys.stdin.read()
"""


@define
class Processes:
    opened: ExitStack = field(factory=ExitStack)

    def start(self, instance: str, *arguments: str) -> tuple[int, int]:
        """(pid, port) of a process that listens; with a second argument only its child does."""
        process = subprocess.Popen(
            [sys.executable, "-c", LISTENER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PROCESS_ID": instance},
            start_new_session=True,
        )
        self.opened.enter_context(process)
        self.opened.callback(process.kill)
        said = process.stdout
        assert said is not None
        return process.pid, self._port(said)

    def _port(self, said: IO[bytes]) -> int:
        while not (line := said.readline().strip()):
            assert line == b""
        return int(line)


@pytest.fixture
def processes() -> Iterator[Processes]:
    made = Processes()
    yield made
    made.opened.close()


def ask(instance: str, pid: int, port: int) -> Holding:
    return holding(PROC, ("127.0.0.1", port), pid, lambda: find(instance, reference(pid)))


def test_a_process_or_its_child_holds_the_port(processes: Processes) -> None:
    for more in ((), ("fork",)):
        instance = f"http-{uuid4().hex[:10]}"
        pid, port = processes.start(instance, "0", *more)
        found = ask(instance, pid, port)
        assert (len(found.sockets), found.stranger, found.known) == (1, 0, True)


def test_a_stranger_that_shares_the_port_is_found_by_its_pid(processes: Processes) -> None:
    instance = f"http-{uuid4().hex[:10]}"
    pid, port = processes.start(instance, "0", "fork")
    stranger, _ = processes.start("another", str(port))
    found = ask(instance, pid, port)
    assert (len(found.sockets), found.stranger) == (2, stranger)


def test_an_app_does_not_hold_the_port_of_another(processes: Processes) -> None:
    first, second = (f"http-{uuid4().hex[:10]}" for _ in range(2))
    pid, _ = processes.start(first, "0")
    other, port = processes.start(second, "0")
    assert ask(first, pid, port).stranger == other


HANDED = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
sys.stdin.readline()
listener.accept()
print(flush=True)
sys.stdin.read()
"""


def test_a_socket_that_was_open_before_the_app_is_its_own_once_it_has_it_and_accepted_once_it_does() -> None:
    """As the keeper hands one over; here this process is the keeper."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        bind = server.getsockname()
        assert holding(PROC, bind, 0, tuple, (os.getpid(),)) == Holding(_inode(server), known=False)
        fd = server.fileno()
        command = [sys.executable, "-c", HANDED, str(fd)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fd]) as app:
            assert app.stdin
            assert app.stdout
            try:
                assert holding(PROC, bind, app.pid, tuple, (os.getpid(),)) == Holding(_inode(server))
                assert listening(PROC, app.pid, tuple) == (f"127.0.0.1:{bind[1]}",)
                with socket.create_connection(bind):
                    assert queued(PROC, bind) == 1
                assert queued(PROC, bind) == 1, "also when who asked is gone"
                app.stdin.write(b"\n")
                app.stdin.flush()
                app.stdout.readline()
                assert queued(PROC, bind) == 0
            finally:
                app.kill()


def _inode(server: socket.socket) -> frozenset[int]:
    return frozenset({os.fstat(server.fileno()).st_ino})
