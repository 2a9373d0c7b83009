"""examples/registry-client: a program in Node that follows the port table and calls whom it finds there."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.protocol import ProcessProtocol
from twisted.web.resource import Resource
from twisted.web.server import Site

from deployd.net.secret import drone_credential
from deployd.registry.service import Registry
from deployd.registry.site import JsonSite
from deployd.registry.web import root
from deployd.storage.registry_memory import MemoryRegistryStore, MemoryTable
from tests.conftest import require
from tests.registry.rows import OTHER, row

CLIENT = Path(__file__).parents[2] / "examples" / "registry-client" / "client.js"
DEADLINE = 30.0


class Said(Resource):
    """An app that says its name."""

    isLeaf = True

    def __init__(self, name: bytes) -> None:
        super().__init__()
        self._name = name

    def render_GET(self, request: object) -> bytes:
        return self._name


class Program(ProcessProtocol):
    """What a process prints, line by line."""

    def __init__(self) -> None:
        self.lines: DeferredQueue[str] = DeferredQueue()
        self.ended: Deferred[None] = Deferred()
        self._rest = ""

    async def line(self) -> str:
        line: str = await self.lines.get().addTimeout(DEADLINE, reactor)
        return line

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data.decode()).split("\n")
        for line in lines:
            self.lines.put(line)

    def errReceived(self, data: bytes) -> None:
        """That the registry is away."""

    def processEnded(self, reason: object) -> None:
        self.ended.callback(None)


class World:
    """A registry over HTTP, and two apps of different releases."""

    def __init__(self) -> None:
        self.apps = {name: self.listen(Site(Said(name.encode()))) for name in ("v1", "v2")}
        self.registry = Registry(reactor, MemoryRegistryStore(MemoryTable("epoch")))
        self.registry.open()
        self.registry.startService()
        credential = drone_credential(None, "alice")
        self.seat = self.registry.attach("alice", "alice", credential, "", "127.0.0.1", lambda: None)
        self.site = JsonSite(root(self.registry, reactor), reactor)
        self.http = self.listen(self.site)
        self.program = Program()

    def listen(self, site: Site, port: int = 0) -> Any:
        site.startFactory = site.stopFactory = lambda: None  # no access log
        return reactor.listenTCP(port, site, interface="127.0.0.1")

    async def have(self, *releases: str) -> None:
        """These are in the port table."""
        rows = {
            "v1": row("v1", self.apps["v1"].getHost().port, role="say", release="v1", version="1.2.0"),
            "v2": row("v2", self.apps["v2"].getHost().port, role="say", release="v2", version="1.3.0", namespace=OTHER),
        }
        await self.registry.publish(self.seat, [rows[release] for release in releases])

    def run(self) -> None:
        node = shutil.which("node")
        assert node is not None
        environment = {
            "DEPLOYD_REGISTRY_URL": f"http://127.0.0.1:{self.http.getHost().port}",
            "REPO": "webapp",
            "RELEASE": "v2",
            "PATH": os.defpath,
        }
        reactor.spawnProcess(self.program, node, [node, str(CLIENT), "say@^1.2", "/"], environment)

    async def away(self) -> int:
        """The registry's HTTP port is closed, and the connections to it; the port's number."""
        number: int = self.http.getHost().port
        await self.http.stopListening()
        self.site.abort_all()
        return number

    async def close(self) -> None:
        if self.program.transport is not None:
            self.program.transport.signalProcess("KILL")
            await self.program.ended
        for port in (self.http, *self.apps.values()):
            await port.stopListening()
        self.site.abort_all()
        await self.registry.stopService()


@pytest_twisted.async_yield_fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


@require("node")
@pytest_twisted.ensureDeferred
async def test_a_program_in_node_follows_the_table_and_calls_its_own_release_first(world: World) -> None:
    await world.have("v1", "v2")
    world.run()
    assert await world.program.line() == "v2"
    await world.have("v1")
    assert await world.program.line() == "v1"
    port = await world.away()
    await world.have("v1", "v2")
    world.http = world.listen(world.site, port)
    # It goes on where it was: there is no snapshot that would have it call twice.
    assert await world.program.line() == "v2"
    await world.have()
    assert await world.program.line() == "nobody answers as say@^1.2"
