"""Nobody who does not go on keeps a connection: real sockets, and a clock that passes when it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from deployd.daemon.service import DaemonService
from deployd.errors import DeploydError
from deployd.git.limits import GitLimits
from deployd.hub.daemon import HubDaemon
from deployd.hub.options import HubOptions
from deployd.net.secret import Secret
from deployd.net.server import HANDSHAKE_DEADLINE
from deployd.registry.daemon import RegistryDaemon
from deployd.registry.options import RegistryOptions
from deployd.registry.site import IDLE
from deployd.wire.handshake import Hello
from tests.e2e.cluster import SECRET
from tests.integration.strangers import AmpStranger, Stranger

GIT_IDLE = 60.0
TIMEOUT = 45.0
DEADLINE = 20.0
PAUSE = 0.02


class SlowReactor:
    """The real reactor, on a time of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seconds = self.clock.seconds
        self.callLater = self.clock.callLater

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@define
class Daemons:
    """A registry and a hub in this process."""

    reactor: SlowReactor = field(factory=SlowReactor)
    running: dict[str, DaemonService] = field(factory=dict)

    def start(self, directory: Path) -> None:
        for kind, daemon, options in (
            ("registry", RegistryDaemon, RegistryOptions()),
            ("hub", HubDaemon, HubOptions()),
        ):
            options.parseOptions(["--port", "0", "--interface", "127.0.0.1", "--state-dir", str(directory / kind)])
            options.secret = Secret(SECRET)
            self.running[kind] = daemon(self.reactor, options)
            self.running[kind].startService()

    async def address(self, port: str) -> str:
        """``registry-amp``, ``hub-http`` and so on as HOST:PORT, once the daemon is ready."""
        kind, _, side = port.partition("-")
        published = self.running[kind].state.path / "addresses.json"
        for _ in range(int(DEADLINE / PAUSE)):
            if published.exists():
                return str(json.loads(published.read_text())[side])
            await deferLater(reactor, PAUSE)
        raise AssertionError(f"{kind} is not ready")

    def pass_time(self, seconds: float) -> None:
        self.reactor.clock.pump([1.0] * int(seconds))

    async def stop(self) -> None:
        for daemon in reversed(self.running.values()):
            await daemon.stopService()


@pytest_twisted.async_yield_fixture
async def daemons(tmp_path: Path) -> AsyncIterator[Daemons]:
    made = Daemons()
    made.start(tmp_path)
    yield made
    await made.stop()


async def seen(address: str, amp: bool) -> None:
    """Return once the daemon has read what was sent to ``address`` before: it takes connections in turn."""

    def ask() -> None:
        with AmpStranger(address) as other:
            if amp:
                with suppress(DeploydError):
                    other.ask(Hello, oldest=1, newest=2, program="x", purpose="x", nonce=bytes(32))
            else:
                other.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                other.until_hung_up()

    for _ in range(3):
        await deferToThread(ask)


POST = b"POST /webapp/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
BEGINNINGS = {
    "registry-amp": {b"": HANDSHAKE_DEADLINE, b"\x00": HANDSHAKE_DEADLINE, b"\x00\x04_ask\x00": HANDSHAKE_DEADLINE},
    "hub-amp": {b"": HANDSHAKE_DEADLINE, b"\x00": HANDSHAKE_DEADLINE, b"\x00\x04_ask\x00": HANDSHAKE_DEADLINE},
    "registry-http": {b"": IDLE, b"G": IDLE, POST: IDLE, POST + b"\r\nx": IDLE},
    "hub-http": {b"": GIT_IDLE, b"G": GIT_IDLE, POST: GIT_IDLE, POST + b"\r\nx": GitLimits().stranger_seconds},
}


@pytest.mark.parametrize("port", list(BEGINNINGS))
@pytest_twisted.ensureDeferred
async def test_who_begins_and_does_not_go_on_is_let_go_at_the_deadline(daemons: Daemons, port: str) -> None:
    address = await daemons.address(port)
    strangers: list[tuple[Stranger, float]] = []
    for data, limit in sorted(BEGINNINGS[port].items(), key=lambda item: item[1]):
        stranger = await deferToThread(Stranger, address)
        await deferToThread(stranger.send, data)
        strangers.append((stranger, limit))
    await seen(address, port.endswith("amp"))
    passed = 0.0
    for stranger, limit in strangers:
        with stranger:
            if limit - 1 > passed:
                daemons.pass_time(limit - 1 - passed)
                passed = limit - 1
                await seen(address, port.endswith("amp"))
                assert stranger.is_open()
            daemons.pass_time(limit + 1 - passed)
            passed = limit + 1
            await deferToThread(stranger.until_hung_up)


@pytest.mark.parametrize(("port", "purpose"), [("registry-amp", "read"), ("hub-amp", "deploy")])
@pytest_twisted.ensureDeferred
async def test_who_greets_and_falls_silent_is_let_go_at_the_timeout(daemons: Daemons, port: str, purpose: str) -> None:
    """In the middle of the handshake at its deadline, after it when pings stay unanswered."""
    address = await daemons.address(port)

    def half() -> AmpStranger:
        stranger = AmpStranger(address)
        stranger.ask(Hello, oldest=1, newest=2, program="x", purpose=purpose, nonce=bytes(32))
        return stranger

    with await deferToThread(half) as greeted:
        daemons.pass_time(HANDSHAKE_DEADLINE)
        await deferToThread(greeted.until_hung_up)
    with await deferToThread(lambda: AmpStranger(address).log_in(purpose, Secret(SECRET))) as silent:
        daemons.pass_time(TIMEOUT - 1)
        await seen(address, True)
        daemons.pass_time(1)
        assert b"ping" in (await deferToThread(silent.until_hung_up)).lower()
