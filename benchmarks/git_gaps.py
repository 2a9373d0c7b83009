"""How long a hub leaves its sockets alone: the slowest answer to a small request, asked every few milliseconds.

On a machine that is busy an answer also waits for a core. So beside the hub a process that does nothing else is asked
the same, and with each answer goes the CPU that the hub's main thread has used since it was asked: that is how long it
did other things first, unless it waited for a disk. `python -m benchmarks.git_gaps PORT PID PORT PID` asks, in a
process that goes first wherever it may; each line it reads it answers with the worst since the one before.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from attrs import define, field

EVERY = 0.005
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
IDLE = """\
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    asking, _ = listening.accept()
    while asking.recv(4096):
        asking.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
"""


class Worst(NamedTuple):
    """Milliseconds: the hub's slowest answer, the CPU that its main thread used before any of them, and the idle
    process's slowest answer."""

    hub: float
    busy: float
    idle: float


@define
class Gaps:
    """The process that asks."""

    _asking: subprocess.Popen[str]

    def read(self) -> Worst:
        """Since this was last called."""
        assert self._asking.stdin is not None
        assert self._asking.stdout is not None
        self._asking.stdin.write("\n")
        self._asking.stdin.flush()
        hub, busy, idle, _ = map(float, self._asking.stdout.readline().split())
        return Worst(hub, busy, idle)


@contextmanager
def asking(port: int, pid: int) -> Iterator[Gaps]:
    """Ask the hub at ``port``, whose process is ``pid``, all the time."""
    pipe = subprocess.PIPE
    idle = subprocess.Popen([sys.executable, "-c", IDLE], stdout=pipe, text=True)
    try:
        assert idle.stdout is not None
        asked = (str(port), str(pid), idle.stdout.readline().strip(), str(idle.pid))
        command = [sys.executable, "-m", "benchmarks.git_gaps", *asked]
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                yield Gaps(process)
            finally:
                process.kill()
    finally:
        idle.kill()
        idle.wait()
        assert idle.stdout is not None
        idle.stdout.close()


@define
class _Asked:
    """One that is asked on a connection that is kept; ``slowest`` also counts an answer that is not there yet."""

    port: int
    pid: int
    slowest: float = 0.0
    busiest: float = 0.0
    _used: float = 0.0
    _socket: socket.socket = field(init=False)
    _since: float = field(init=False, default=0.0)
    _waiting: bool = field(init=False, default=False)

    def connect(self, selector: selectors.BaseSelector) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.port))
        self._waiting = False
        selector.register(self._socket, selectors.EVENT_READ, self)

    def ask(self, now: float) -> None:
        if not self._waiting:
            self._since, self._used, self._waiting = now, self._cpu(), True
            self._socket.sendall(REQUEST)

    def answered(self, selector: selectors.BaseSelector) -> None:
        self.look()
        self._waiting = False
        if not self._socket.recv(65536):
            # A server may close a connection that has been used for long.
            selector.unregister(self._socket)
            self._socket.close()
            self.connect(selector)

    def look(self) -> None:
        if self._waiting:
            self.slowest = max(self.slowest, time.monotonic() - self._since)
            self.busiest = max(self.busiest, self._cpu() - self._used)

    def _cpu(self) -> float:
        """Seconds of the main thread."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()[0]) / 1e9


def main(arguments: list[str]) -> None:
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    selector = selectors.DefaultSelector()
    numbers = [int(argument) for argument in arguments]
    asked = [_Asked(port, pid) for port, pid in zip(numbers[::2], numbers[1::2], strict=True)]
    for each in asked:
        each.connect(selector)
    selector.register(sys.stdin, selectors.EVENT_READ)
    due = 0.0
    while True:
        now = time.monotonic()
        if now >= due:
            due = now + EVERY
            for each in asked:
                each.ask(now)
        for key, _ in selector.select(max(0.0, due - time.monotonic())):
            if key.data is not None:
                key.data.answered(selector)
            elif not sys.stdin.readline():
                return
            else:
                for each in asked:
                    each.look()
                print(*(f"{1000 * each.slowest:.1f} {1000 * each.busiest:.1f}" for each in asked), flush=True)
                for each in asked:
                    each.slowest = each.busiest = 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
