"""A registry and its clients on real sockets: waiting, lost links, floods and restarts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from deployd.client.owner import OwnedRows
from deployd.client.reader import list_rows
from deployd.client.watching import RowWatcher
from deployd.errors import SecretRefused
from deployd.model.registration import Registration
from deployd.net.client import Dial, connect
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.secret import Secret, drone_credential
from deployd.registry.daemon import RegistryDaemon
from deployd.registry.options import RegistryOptions
from tests.kept_ports import kept_port
from tests.registry.rows import COMMIT, row

SECRET = Secret("beep boop")
IDLE_CONNECTIONS = 500


class Answer(Protocol):
    """What a server says until it closes the connection."""

    def __init__(self) -> None:
        self.data = b""
        self.closed: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: object = None) -> None:
        self.closed.callback(self.data)


class World:
    """One registry at fixed ports, and what talks to it; ``close`` ends all."""

    def __init__(self, state: Path, timeout: str) -> None:
        self.state = state
        self._times = ["--heartbeat", "0.2", "--timeout", timeout]
        self.ports = (kept_port(), kept_port())
        self.owners: list[OwnedRows] = []
        self.opened = ExitStack()

    async def start(self) -> None:
        options = RegistryOptions()
        where = ["--port", self.ports[0], "--http-port", self.ports[1], "--interface", "127.0.0.1"]
        options.parseOptions(["--secret", "beep boop", "--state-dir", str(self.state), *self._times, *where])
        self.daemon = RegistryDaemon(reactor, options)
        self.daemon.startService()
        await until((self.state / "addresses.json").exists)
        addresses = json.loads((self.state / "addresses.json").read_text())
        assert addresses["pid"] == os.getpid()

    @property
    def amp(self) -> int:
        return int(self.ports[0])

    @property
    def http(self) -> int:
        return int(self.ports[1])

    def dial(self, purpose: str, secret: Secret | None = SECRET, identity: Identity | None = None) -> Dial:
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", self.amp)
        credentials = Credentials("test", purpose, secret, identity)
        return Dial(reactor, endpoint, f"127.0.0.1:{self.amp}", credentials)

    def owner(self, identity: Identity | None = None) -> OwnedRows:
        identity = identity or Identity.create()
        credential = drone_credential(SECRET, identity.owner)
        rows = OwnedRows(dial=self.dial("register", identity=identity), name="d1", credential=credential)
        rows.startService()
        self.owners.append(rows)
        return rows

    async def rows(self) -> list[tuple[str, bool]]:
        """Every row's id, and whether it is marked, as an anonymous reader sees it."""
        peer = await connect(self.dial("read", secret=None))
        found = await list_rows(peer)
        peer.transport.loseConnection()
        await peer.when_closed()
        return [(one["id"], one["marked"]) for one in found]

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self.ask(path)
        head, _, body = (await answer.closed).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    async def ask(self, path: str) -> Answer:
        answer: Answer = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", self.http), Answer())
        answer.transport.write(f"GET {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n".encode())
        return answer

    def owner_process(self, row_id: str) -> subprocess.Popen[bytes]:
        """A process of its own that owns one row; all have the same key."""
        program = [sys.executable, str(Path(__file__).with_name("owner_process.py"))]
        words = [str(self.amp), str(self.state.with_name("key")), row_id]
        process = subprocess.Popen([*program, *words], env=os.environ | {"DEPLOYD_SECRET": "beep boop"})
        self.opened.callback(process.wait)
        self.opened.callback(process.kill)
        return process

    def stranger(self, port: int) -> socket.socket:
        found = self.opened.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        found.setblocking(False)
        return found

    async def close(self) -> None:
        for rows in self.owners:
            await rows.stopService()
        self.opened.close()
        await self.daemon.stopService()
        assert not (self.state / "addresses.json").exists()
        await until(lambda: not self.daemon._factory.peers and not self.daemon._site.channels)


async def until(condition: Callable[[], bool]) -> None:
    limit = reactor.seconds() + 30
    while not condition():
        assert reactor.seconds() < limit, "it never comes"
        await deferLater(reactor, 0.005)


async def until_rows(world: World, expected: list[tuple[str, bool]]) -> None:
    limit = reactor.seconds() + 30
    while (found := await world.rows()) != expected:
        assert reactor.seconds() < limit, found
        await deferLater(reactor, 0.01)


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Nobody is lost because the machine is busy."""
    made = World(tmp_path / "state", "30")
    await made.start()
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def brisk(tmp_path: Path) -> AsyncIterator[World]:
    """Where rows fall soon."""
    made = World(tmp_path / "state", "1.5")
    await made.start()
    yield made
    await made.close()


@pytest_twisted.ensureDeferred
async def test_a_reader_who_waits_is_answered_when_the_row_comes(world: World) -> None:
    waiting = await world.ask(f"/v1/ports/{COMMIT}?app=webapp&role=http&wait=30")
    await until(lambda: world.daemon.registry._waiting.count == 1)
    await world.owner().put(row())
    assert b'{"http":[{"host":"127.0.0.1","port":20001}]}' in await waiting.closed
    assert await world.get(f"/v1/ports/{COMMIT[:8]}") == (
        200,
        {COMMIT: {"http": [{"host": "127.0.0.1", "port": 20001}]}},
    )


@pytest_twisted.ensureDeferred
async def test_a_reader_who_goes_away_no_longer_waits(world: World) -> None:
    waiting = await world.ask("/v1/ports?wait=30")
    await until(lambda: world.daemon.registry._waiting.count == 1)
    waiting.transport.abortConnection()
    await until(lambda: world.daemon.registry._waiting.count == 0)
    assert await world.get("/v1/ports?wait=0.05") == (404, {})


@pytest_twisted.ensureDeferred
async def test_a_bare_fin_marks_and_frees_later_and_goodbye_frees_now(brisk: World) -> None:
    first, second = brisk.owner(), brisk.owner()
    await first.put(row("a"))
    await second.put(row("b"))
    assert await brisk.rows() == [("a", False), ("b", False)]
    await second.leave()
    assert await brisk.rows() == [("a", False)]
    await first.stopService()
    await until_rows(brisk, [("a", True)])
    await until_rows(brisk, [])


@pytest_twisted.ensureDeferred
async def test_an_owner_that_is_stopped_falls_and_is_back_when_it_goes_on(brisk: World) -> None:
    """SIGSTOP: the connection stays, nothing is heard; after SIGCONT the owner needs nobody's help."""
    process = brisk.owner_process("a")
    await until_rows(brisk, [("a", False)])
    process.send_signal(signal.SIGSTOP)
    await until_rows(brisk, [])
    process.send_signal(signal.SIGCONT)
    await until_rows(brisk, [("a", False)])


@pytest_twisted.ensureDeferred
async def test_a_killed_owner_is_marked_at_once_and_its_next_life_takes_over(world: World) -> None:
    process = world.owner_process("a")
    await until_rows(world, [("a", False)])
    process.kill()
    await until_rows(world, [("a", True)])
    world.owner_process("b")
    await until_rows(world, [("b", False)])


@pytest_twisted.ensureDeferred
async def test_after_a_restart_of_the_registry_the_rows_are_back_without_help(world: World) -> None:
    owners = [world.owner() for _ in range(3)]
    for number, rows in enumerate(owners):
        await rows.put(row(f"r{number}"))
    before = world.daemon.registry.revision
    await world.daemon.stopService()
    waiting = owners[0].put(row("late"))
    await world.start()
    after = await waiting
    assert (after.epoch, after.number > before.number) == (before.epoch, True)
    await until_rows(world, [("late", False), ("r0", False), ("r1", False), ("r2", False)])


@pytest_twisted.ensureDeferred
async def test_a_watch_over_http_ends_in_good_order_with_the_registry_and_goes_on_with_the_next(world: World) -> None:
    owner = world.owner()
    await owner.put(row("a"))
    watch = await world.ask("/v1/watch")
    await until(lambda: b'"id":"a"' in watch.data)
    last = re.findall(rb"id: ([^\r\n]+)", watch.data)[-1].decode()
    await world.daemon.stopService()
    assert (await watch.closed).endswith(b"0\r\n\r\n")
    await world.start()
    await owner.put(row("b"))
    watch = await world.ask(f"/v1/watch?since={last}")
    await until(lambda: b'"id":"b"' in watch.data)
    assert b"event: reset" not in watch.data
    assert b'"id":"a"' not in watch.data
    assert watch.transport is not None
    watch.transport.loseConnection()
    await watch.closed


@pytest_twisted.ensureDeferred
async def test_a_new_process_of_the_same_owner_takes_over_and_a_stranger_does_not(world: World) -> None:
    identity = Identity.create()
    first = world.owner(identity)
    await first.put(row("a"))
    await first.stopService()
    again = world.owner(identity)
    await again.put(row("b"))
    assert await world.rows() == [("b", False)]
    with pytest.raises(SecretRefused):
        await connect(world.dial("register", Secret("wrong"), Identity.create()))


@pytest_twisted.ensureDeferred
async def test_five_hundred_idle_connections_on_each_port_are_borne(world: World) -> None:
    rows = world.owner()
    await rows.put(row("a"))
    for _ in range(IDLE_CONNECTIONS):
        world.stranger(world.amp)
        world.stranger(world.http)
        await deferLater(reactor, 0)
    await until(lambda: len(world.daemon._factory.peers) > IDLE_CONNECTIONS)
    await rows.put(row("b"))
    assert (await world.get("/healthz"))[0] == 200
    assert await world.rows() == [("a", False), ("b", False)]


GARBAGE = {
    "random bytes": os.urandom(4096),
    "a megabyte without end": b"a" * 2**20,
    "NULs": b"\0" * 4096,
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "half a handshake": b"\0\x04_ask\0\x011\0\x08_command\0\x05Hello\0\x06old",
    "a command before the handshake": b"\0\x04_ask\0\x011\0\x08_command\0\x08ListRows\0\0",
    "an answer that nobody asked for": b"\0\x07_answer\0\x019\0\0",
    "JSON of an ancestor": b'["register",null]\n{"method":"methods","arguments":[null]}\nnull\n',
}


@pytest.mark.parametrize("garbage", list(GARBAGE))
@pytest.mark.parametrize("port", ["amp", "http"])
@pytest_twisted.ensureDeferred
async def test_garbage_harms_nobody(world: World, port: str, garbage: str) -> None:
    rows = world.owner()
    await rows.put(row("a"))
    for ending in ("none", "FIN", "RST"):
        stranger = world.stranger(getattr(world, port))
        data = GARBAGE[garbage]
        while data:
            try:
                data = data[stranger.send(data) :]
            except BlockingIOError:
                pass
            except ConnectionError:
                break
            await deferLater(reactor, 0)
        if ending == "RST":
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if ending != "none":
            stranger.close()
        await deferLater(reactor, 0)
    await rows.put(row("b"))
    assert (await world.get("/healthz"))[0] == 200
    assert await world.rows() == [("a", False), ("b", False)]


class Table:
    """The rows that a watcher tells of, and how often it told of all."""

    def __init__(self, dial: Dial) -> None:
        self.rows: dict[str, int] = {}
        self.resets = 0
        self.watcher = RowWatcher(dial=dial, reset=self._reset, changed=self._changed)
        self.watcher.startService()

    def _reset(self, rows: tuple[Registration, ...], *_: object) -> None:
        self.rows = {one.id: one.port for one in rows}
        self.resets += 1

    def _changed(self, put: tuple[Registration, ...], gone: tuple[str, ...], *_: object) -> None:
        self.rows.update({one.id: one.port for one in put})
        for row_id in gone:
            self.rows.pop(row_id, None)


@pytest_twisted.ensureDeferred
async def test_who_watches_sees_every_change_over_lost_links_and_restarts(world: World) -> None:
    tables = [Table(world.dial("read", secret=None)) for _ in range(20)]
    try:
        owner = world.owner()
        await owner.put(row("a", port=1))
        await until(lambda: all(table.rows == {"a": 1} for table in tables))
        for peer in list(world.daemon._factory.peers):
            peer.transport.abortConnection()
        await owner.put(row("b", port=2))
        await owner.free("a")
        await until(lambda: all(table.rows == {"b": 2} for table in tables))
        assert {table.resets for table in tables} == {1}
        await world.daemon.stopService()
        await world.start()
        await owner.put(row("c", port=3))
        await until(lambda: all(table.rows == {"b": 2, "c": 3} for table in tables))
        assert {table.resets for table in tables} == {1}
    finally:
        for table in tables:
            await table.watcher.stopService()
