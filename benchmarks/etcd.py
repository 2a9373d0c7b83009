"""etcd on loopback beside the registry, and a lean client of its JSON gateway.

The client is made to be no part of what is measured: requests are bytes that were put together before, answers are only
looked at for where they end.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from benchmarks.router_speed import LOOPBACK, await_port, free_port

PROGRAM = "etcd"


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


@contextmanager
def running(directory: Path) -> Iterator[int]:
    """An etcd of one node with its defaults, its data in ``directory``; its client port."""
    port, peers = free_port(), f"http://{LOOPBACK}:0"
    clients = f"http://{LOOPBACK}:{port}"
    words = {
        "data-dir": str(directory),
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
        "logger": "zap",
        "log-level": "error",
    }
    command = [PROGRAM, *(f"--{name}={value}" for name, value in words.items())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_port(port)
        yield port
    finally:
        process.kill()
        process.wait()


def text(value: bytes) -> str:
    return b64encode(value).decode()


def put(key: bytes, value: bytes) -> bytes:
    """The request that puts ``value``."""
    return request("/v3/kv/put", {"key": text(key), "value": text(value)})


def request(path: str, document: Any) -> bytes:
    body = json.dumps(document).encode()
    return b"POST %b HTTP/1.1\r\nHost: etcd\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


class Connection(Protocol):
    """One connection that is kept; ``send`` a request, and ``answered`` is called when its answer is there."""

    def __init__(self, answered: Callable[[Connection], None] = lambda _: None) -> None:
        self.answered = answered
        self._held = b""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def send(self, said: bytes) -> None:
        self.transport.write(said)

    def dataReceived(self, data: bytes) -> None:
        held = self._held + data
        head = held.find(b"\r\n\r\n")
        at = held.find(b"Content-Length: ")
        if head < 0 or len(held) < head + 4 + int(held[at + 16 : held.index(b"\r\n", at)]):
            self._held = held
            return
        if not held.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(held.decode())
        self._held = b""
        self.answered(self)


class Watch(Protocol):
    """One connection on which all changes come; ``saw`` is called at each one."""

    def __init__(self, saw: Callable[[], None]) -> None:
        self.created: Deferred[None] = Deferred()
        self._saw = saw

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        everything = {"key": text(b"\0"), "range_end": text(b"\0")}
        self.transport.write(request("/v3/watch", {"create_request": everything}))

    def dataReceived(self, data: bytes) -> None:
        if b'"created":true' in data:
            self.created.callback(None)
        if b'"events":' in data:
            self._saw()


class Etcd:
    """``count`` connections to the etcd at ``port``."""

    def __init__(self, reactor: Any, port: int) -> None:
        self._endpoint = HostnameEndpoint(reactor, LOOPBACK, port)
        self._reactor = reactor
        self._connections: list[Connection] = []
        self._watches: list[Watch] = []

    async def connect(self, count: int) -> None:
        opened = [connectProtocol(self._endpoint, Connection()) for _ in range(count)]
        self._connections = await gatherResults(opened)

    async def put_all(self, requests: Iterator[bytes]) -> int:
        """Put each of ``requests``, one outstanding on each connection; how many there were."""
        done: Deferred[None] = Deferred()
        count, busy = 0, len(self._connections)

        def next_one(connection: Connection) -> None:
            nonlocal busy
            said = next(requests, None)
            if said is not None:
                connection.send(said)
                return
            busy -= 1
            if not busy:
                done.callback(None)

        def answered(connection: Connection) -> None:
            nonlocal count
            count += 1
            next_one(connection)

        for connection in self._connections:
            connection.answered = answered
        for connection in self._connections:
            next_one(connection)
        await done
        return count

    async def watch(self, saw: Callable[[], None]) -> None:
        """From now on ``saw`` is called at each change of any key."""
        watch = await connectProtocol(self._endpoint, Watch(saw))
        self._watches.append(watch)
        await watch.created

    def send(self, said: bytes) -> None:
        """On the first connection; nobody waits for the answer."""
        connection = self._connections[0]
        connection.answered = lambda _: None
        connection.send(said)

    def close(self) -> None:
        for protocol in (*self._connections, *self._watches):
            protocol.transport.abortConnection()
