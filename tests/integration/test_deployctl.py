"""deployctl as a process against a scripted hub and a real registry's wire: exit codes, sentences, documents."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import deferLater

from deployd.errors import Refused, UnknownInstance
from deployd.net.conversation import Conversation, responder
from deployd.net.server import ServerFactory, ServerTerms
from deployd.wire.lookup import ListRows
from tests.cli.scripted_hub import COMMIT, SECRET, SECRET_TEXT, ScriptedHub, drone, instance

DEPLOYCTL = str(Path(sys.executable).with_name("deployctl"))
ROW = {"namespace": COMMIT, "app": "webapp", "release": "v1", "host": "127.0.0.1", "drone": "d1", "version": ""}
ROWS = [
    ROW | {"id": "http-1", "role": "http", "port": 15194, "meta": {}, "owner": "o", "revision": 1},
    ROW | {"id": "say-1", "role": "say", "port": 13308, "meta": {}, "owner": "o", "revision": 2},
]


class Reading(Conversation):
    @responder(ListRows)
    def rows(self, namespace: str, after: str, **_: str) -> dict[str, Any]:
        matching = [row for row in ROWS if row["namespace"].startswith(namespace)]
        page = [row for row in matching if row["id"] > after][:1]
        return {"rows": page, "next": page[0]["id"] if page and page[0] != matching[-1] else ""}


@define
class Ran:
    code: int
    out: str
    error: str


class Command(ProcessProtocol):
    """One deployctl; ``done`` fires with what it said and how it ended."""

    def __init__(self, hub: str, *arguments: str, secret: str | None = SECRET_TEXT, terminal: bool = False) -> None:
        self._out, self._error = b"", b""
        self.done: Deferred[Ran] = Deferred()
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "DEPLOYD_HUB": hub}
        if secret is not None:
            environment["DEPLOYD_SECRET"] = secret
        if terminal:
            environment |= {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
        reactor.spawnProcess(self, DEPLOYCTL, [DEPLOYCTL, *arguments], environment, "/", usePTY=terminal)

    def outReceived(self, data: bytes) -> None:
        self._out += data

    def errReceived(self, data: bytes) -> None:
        self._error += data

    def processEnded(self, reason: Any) -> None:
        code = 0 if reason.check(ProcessDone) else reason.value.exitCode
        self.done.callback(Ran(code, self._out.decode(), self._error.decode()))


@define
class Stage:
    """A scripted hub and a registry on loopback, and commands against them."""

    hub: ScriptedHub
    factory: ServerFactory
    port: IListeningPort
    registry: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port.getHost().port}"

    def command(self, *arguments: str, secret: str | None = SECRET_TEXT, terminal: bool = False) -> Command:
        return Command(self.address, *arguments, secret=secret, terminal=terminal)

    async def ran(self, *arguments: str, secret: str | None = SECRET_TEXT) -> Ran:
        ran = await self.command(*arguments, secret=secret).done
        assert "Traceback" not in ran.error, ran
        assert SECRET_TEXT not in ran.error + ran.out, ran
        return ran

    async def until_asked(self, name: str) -> None:
        for _ in range(1000):
            if self.hub.asked_for(name):
                return
            await deferLater(reactor, 0.01)
        raise AssertionError(f"nobody asked for {name}: {self.hub.asked}")


async def listening(factory: Factory) -> IListeningPort:
    port: IListeningPort = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
    return port


@pytest_twisted.async_yield_fixture
async def stage() -> AsyncIterator[Stage]:
    reading = ServerTerms(
        kind="registry",
        secret=SECRET,
        conversations={"read": lambda peer, session: Reading()},
        anonymous=frozenset({"read"}),
    )
    registry_factory = ServerFactory(reactor, reading)
    registry = await listening(registry_factory)
    hub = ScriptedHub(reactor)
    factory = ServerFactory(reactor, hub.terms())
    port = await listening(factory)
    address = f"127.0.0.1:{registry.getHost().port}"
    hub.facts["registry"] = address
    made = Stage(hub, factory, port, address)
    yield made
    for closing in (made.port, registry):
        await closing.stopListening()
    for open_ in (made.factory, registry_factory):
        lost = [peer.when_closed() for peer in open_.peers]
        open_.close_all()
        for one in lost:
            await one


@pytest_twisted.ensureDeferred
async def test_ports_are_exactly_the_walk_throughs_and_need_no_secret(stage: Stage) -> None:
    expected = {COMMIT: {"http": [{"host": "127.0.0.1", "port": 15194}], "say": [{"host": "127.0.0.1", "port": 13308}]}}
    for ran in (
        await stage.ran("ports", "--json"),
        await stage.ran("--registry", stage.registry, "--json", "ports", secret=None),
        await stage.ran("ports", "--json", "--commit", COMMIT[:7], "webapp"),
    ):
        assert ran.code == 0, ran
        assert json.loads(ran.out) == expected
    plain = await stage.ran("ports")
    assert plain.out.splitlines()[1].split() == ["74336bc", "webapp", "v1", "http", "127.0.0.1:15194", "d1"]
    nothing = await stage.ran("ports", "--json", "--commit", "ffff")
    assert (nothing.code, nothing.out) == (0, "{}\n")


@pytest_twisted.ensureDeferred
async def test_without_the_secret_the_hub_refuses_and_a_wrong_one_everybody(stage: Stage) -> None:
    for arguments, secret in ((["ports"], None), (["ps"], None), (["ps"], "wrong"), (["ps"], "1234")):
        ran = await stage.ran(*arguments, secret=secret)
        assert ran.code == 4, ran
        assert len(ran.error.splitlines()) == 1, ran
    wrong = await stage.ran("ports", "--registry", stage.registry, secret="wrong")
    assert wrong.code == 4
    assert (await stage.ran("ps", secret="")).code == 2
    assert (await stage.ran("ps")).code == 0


@pytest_twisted.ensureDeferred
async def test_a_registry_that_the_hub_names_by_a_tls_endpoint_is_dialled_with_tls(stage: Stage) -> None:
    """deployctl leaves TLS out of its start, so here it starts anew."""
    stage.hub.facts["registry"] = "tls:127.0.0.1:1"
    ran = await stage.ran("ports")
    assert ran.code == 3
    assert "cannot reach tls:127.0.0.1:1: connection refused" in ran.error


@pytest_twisted.ensureDeferred
async def test_a_deploy_prints_its_progress_and_its_end(stage: Stage) -> None:
    stage.hub.drones = [drone("d1", "pending")]
    command = stage.command("deploy", "webapp", "master")
    await stage.until_asked("DeployStatus")
    stage.hub.change(drones=[drone("d1", "ready")], state="deployed")
    ran = await command.done
    assert (ran.code, ran.error) == (0, "")
    assert ran.out.splitlines() == [
        "deploying webapp v1 (74336bc)",
        "d1: pending",
        "d1: ready",
        "webapp v1 (74336bc) is deployed: 1 of 1 drone ready",
    ]


@pytest_twisted.ensureDeferred
async def test_on_a_terminal_a_deploy_is_a_live_table_and_lists_are_tables(stage: Stage) -> None:
    stage.hub.drones = [drone("d1", "pending", "\x1b[2Jfetching")]
    command = stage.command("deploy", "webapp", "master", terminal=True)
    await stage.until_asked("DeployStatus")
    stage.hub.change(drones=[drone("d1", "ready")], state="deployed")
    ran = await command.done
    assert ran.code == 0, ran
    assert "\x1b[2J" not in ran.out
    assert ran.out.index("DRONE") < ran.out.index("pending") < ran.out.index("ready") < ran.out.index("is deployed")
    stage.hub.lists = {"instances": [instance("http-0123456789", "backoff", reason="[bold]ended[/bold] with code 1")]}
    table = await stage.command("ps", terminal=True).done
    assert table.code == 0
    assert "http-0123456789" in table.out
    assert "[bold]" in table.out


@pytest_twisted.ensureDeferred
async def test_a_failed_deploy_is_exit_1_with_each_drones_reason_and_last_lines(stage: Stage) -> None:
    stage.hub.change(
        state="failed", reason="0 of 1 drones ready", drones=[drone("d1", "failed", "ended with code 3", "\x1b[2Jboom")]
    )
    ran = await stage.ran("deploy", "webapp", "master")
    assert ran.code == 1
    assert "d1: failed: ended with code 3" in ran.error
    assert "boom" in ran.error
    assert "\x1b" not in ran.error
    document = await stage.ran("deploy", "webapp", "master", "--json")
    assert document.code == 1
    assert json.loads(document.out)["state"] == "failed"


@pytest_twisted.ensureDeferred
async def test_detached_prints_the_release_only(stage: Stage) -> None:
    ran = await stage.ran("deploy", "webapp", "master", "--detach")
    assert (ran.code, ran.out) == (0, "v1\n")


@pytest_twisted.ensureDeferred
async def test_ctrl_c_detaches_from_a_deploy(stage: Stage) -> None:
    command = stage.command("deploy", "webapp", "master")
    await stage.until_asked("DeployStatus")
    command.transport.signalProcess(signal.SIGINT)
    ran = await command.done
    assert ran.code == 130
    assert "detached: webapp v1" in ran.error


@pytest_twisted.ensureDeferred
async def test_a_hub_that_dies_in_mid_deploy_is_found_again(stage: Stage) -> None:
    command = stage.command("deploy", "webapp", "master")
    await stage.until_asked("DeployStatus")
    number = stage.port.getHost().port
    await stage.port.stopListening()
    lost = [peer.when_closed() for peer in stage.factory.peers]
    stage.factory.close_all()
    for one in lost:
        await one
    stage.hub.change(state="deployed", drones=[drone("d1", "ready")])
    stage.factory = ServerFactory(reactor, stage.hub.terms())
    stage.port = await serverFromString(reactor, f"tcp:{number}:interface=127.0.0.1").listen(stage.factory)
    ran = await command.done
    assert ran.code == 0, ran
    assert len(stage.hub.asked_for("Deploy")) == 1


@pytest_twisted.ensureDeferred
async def test_a_hub_that_never_answers_is_exit_3_at_the_deadline(stage: Stage) -> None:
    silent = Factory.forProtocol(Protocol)
    silent.noisy = False
    port = await listening(silent)
    try:
        ran = await Command(f"127.0.0.1:{port.getHost().port}", "ps", "--timeout", "1").done
    finally:
        await port.stopListening()
    assert ran.code == 3
    assert len(ran.error.splitlines()) == 1


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_no_deployd_is_exit_3_or_1_without_a_traceback(stage: Stage) -> None:
    class Babbler(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"HTTP/1.0 400 Bad Request\r\n\r\n" + b"\xff" * 100_000)

    babbling = Factory.forProtocol(Babbler)
    babbling.noisy = False
    port = await listening(babbling)
    try:
        ran = await Command(f"127.0.0.1:{port.getHost().port}", "ps", "--timeout", "3").done
    finally:
        await port.stopListening()
    assert ran.code == 3
    assert "Traceback" not in ran.error


@pytest_twisted.ensureDeferred
async def test_refused_and_unknown_have_their_codes(stage: Stage) -> None:
    refused = await Command("127.0.0.1:1", "ps").done
    assert refused.code == 3
    stage.hub.errors = {"Stop": UnknownInstance("there is no instance 'x'"), "Retire": Refused("it is routed")}
    assert (await stage.ran("stop", "x")).code == 2
    assert (await stage.ran("retire", "webapp", "v1")).code == 1


@pytest_twisted.ensureDeferred
async def test_an_error_inside_the_hub_is_one_sentence(stage: Stage) -> None:
    stage.hub.errors = {"List": RuntimeError("boom")}
    from twisted.logger import globalLogPublisher

    # The hub's own log has the traceback, as it should.
    globalLogPublisher.addObserver(expect := lambda event: event.update(expected=True))
    globalLogPublisher._observers.insert(0, globalLogPublisher._observers.pop())
    try:
        ran = await stage.ran("ps")
    finally:
        globalLogPublisher.removeObserver(expect)
    assert ran.code == 1
    assert len(ran.error.splitlines()) == 1


@pytest_twisted.ensureDeferred
async def test_lists_have_the_contracts_keys(stage: Stage) -> None:
    stage.hub.lists = {
        "instances": [instance("http-1", "ready", port=15194, pid=7)],
        "drones": [{"name": "d1", "state": "connected", "labels": {"region": "eu"}, "address": "127.0.0.1"}],
        "apps": [{"app": "webapp", "head": COMMIT}],
        "releases": [{"app": "webapp", "release": "v1", "commit": COMMIT, "state": "deployed"}],
    }
    for arguments, kind in ((["ps"], "instances"), (["drones"], "drones"), (["apps"], "apps")):
        assert json.loads((await stage.ran(*arguments, "--json")).out) == stage.hub.lists[kind]
    assert json.loads((await stage.ran("--json", "releases", "webapp")).out) == stage.hub.lists["releases"]
    assert "region=eu" in (await stage.ran("drones")).out
    assert (await stage.ran("drones", "--forget", "d9")).code == 0
    assert stage.hub.asked_for("ForgetDrone") == [{"name": "d9"}]
    assert json.loads((await stage.ran("status", "--json")).out)["drones"] == 2


@pytest.mark.parametrize("reader", ["head -c 1", "true"])
@pytest_twisted.ensureDeferred
async def test_nobody_reading_is_no_traceback(stage: Stage, reader: str) -> None:
    stage.hub.lists = {"apps": [{"app": f"app{number}", "head": COMMIT} for number in range(3000)]}
    stage.hub.page = 500
    from twisted.internet.utils import getProcessOutputAndValue

    environment = {"PATH": os.environ["PATH"], "DEPLOYD_HUB": stage.address, "DEPLOYD_SECRET": SECRET_TEXT}
    script = f"{DEPLOYCTL} apps | {reader}"
    _, error, code = await getProcessOutputAndValue("/bin/sh", ["-c", script], environment)
    assert (error, code) == (b"", 0)
