"""Owners and readers of a registry, as the benchmarks need them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString

from deployd.client.owner import OwnedRows
from deployd.model.registration import Registration
from deployd.net.client import Dial, connect
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import Secret, drone_credential
from deployd.wire.lookup import Follow
from tests.e2e.cluster import SECRET, Daemon

EACH_ROLE = 10
WAIT = 20.0


def registry(directory: Path, *options: str) -> Daemon:
    """A registry on free ports of loopback, running; ``fixed`` makes it keep them."""
    return Daemon("registry", directory, ["--port", "0", "--interface", "127.0.0.1", *options], [], SECRET).start()


def fixed(daemon: Daemon) -> None:
    """From now on each start of it is at the ports that it has now."""
    amp, http = (address.rpartition(":")[2] for address in (daemon.amp, daemon.http))
    daemon._arguments[1] = amp
    daemon._arguments += ["--http-port", http]


def row(number: int, version: int = 0) -> Registration:
    """One as a drone has them; ``EACH_ROLE`` have the same role. Its versions differ in their ports."""
    release = number // 1000
    return Registration(
        id=f"service-{number // EACH_ROLE}.{number % EACH_ROLE}-{number:012x}",
        namespace=f"{release:020x}{release * 7919:020x}",
        role=role(number),
        host="",
        port=20_000 + number % 10_000 + 10_000 * (version % 4),
        app=f"team/application-{release % 20}",
        release=f"v{release + 1}",
        version="1.4.2",
        meta={"zone": f"eu-{number % 3}", "weight": number % 100, "protocol": "http"},
    )


def role(number: int) -> str:
    return f"service-{number // EACH_ROLE}"


class Owner:
    """An owner with a session of its own; ``path`` is where its identity is kept, if it is to last."""

    def __init__(self, reactor: Any, address: str, name: str, path: Path | None = None) -> None:
        identity = Identity.load(path) if path is not None else Identity.create()
        secret = Secret(SECRET)
        dial = Dial(reactor, _endpoint(reactor, address), address, Credentials("bench", "register", secret, identity))
        self.rows = OwnedRows(dial=dial, name=name, credential=drone_credential(secret, identity.owner))
        self.rows.startService()

    def put_all(self, rows: Iterable[Registration], standing: bool = False) -> Deferred[Any]:
        """Hand all over at once; fires once each is acknowledged, or the first is not."""
        done: Deferred[Any] = Deferred()
        left = 0

        def acknowledged(_: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.callback(None)

        def failed(failure: Any) -> None:
            if not done.called:
                done.errback(failure)

        puts = [self.rows.put(each, standing) for each in rows]
        left = len(puts)
        for put in puts:
            put.addCallbacks(acknowledged, failed)
        return done

    def close(self) -> Deferred[Any]:
        return self.rows.stopService()


async def reader(reactor: Any, address: str) -> Peer:
    """A session that reads."""
    credentials = Credentials("bench", "read", Secret(SECRET))
    return await connect(Dial(reactor, _endpoint(reactor, address), address, credentials))


class Follower:
    """Follows the rows that match (all of them); ``saw`` gets the lines of each answer."""

    def __init__(self, peer: Peer, saw: Callable[[list[dict[str, Any]]], None], match: str = "") -> None:
        self._peer = peer
        self._saw = saw
        self._match = match
        self._following: Deferred[None] | None = None

    async def start(self) -> None:
        """Until all is known that there is."""
        position = ""
        whole = False
        while not whole:
            answer = await self._ask(position, 0.0)
            position, whole = answer["position"], answer["whole"]
        self._following = Deferred.fromCoroutine(self._go_on(position))
        self._following.addErrback(lambda failure: failure.trap(CancelledError))

    async def _go_on(self, position: str) -> None:
        while True:
            answer = await self._ask(position, WAIT)
            position = answer["position"]
            self._saw(answer["lines"])

    def _ask(self, position: str, wait: float) -> Deferred[Any]:
        wanted = {"match": self._match, "namespace": "", "app": "", "release": ""}
        return self._peer.call(Follow, timeout=wait + 10, position=position, wait=wait, **wanted)

    def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
        self._peer.transport.abortConnection()


def changed(rows: Iterable[Registration], version: int) -> list[Registration]:
    """The same rows at other ports."""
    return [evolve(each, port=20_000 + each.port % 10_000 + 10_000 * (version % 4)) for each in rows]


def _endpoint(reactor: Any, address: str) -> Any:
    host, _, port = address.rpartition(":")
    return clientFromString(reactor, f"tcp:{host}:{port}")
