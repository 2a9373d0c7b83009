"""A router with 10,000 routes and 100,000 targets: its memory, and how soon it acknowledges a change of one route.

A router process is fed by a hub and a registry that are made up, in a process of their own
(`python -m benchmarks.router_size DIRECTORY`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater

from benchmarks.idle_memory import resident
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, Standing, TableItem
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.server import ServerFactory, ServerTerms
from deployd.wire.codec import to_json
from deployd.wire.lookup import ListRows, Watch
from deployd.wire.paging import pages
from deployd.wire.routing import Count, Depart, Enter, Follow, Stand
from tests.e2e.cluster import Daemon

ROUTES, TARGETS, DRONES, RELEASES = 10_000, 100_000, 100, 5
CHANGES = 20
ALLOWED_MS, ALLOWED_MB = 50, 300
HUB, REGISTRY = "hub", "registry"


def line(number: int, weight: int = 1) -> TableItem:
    shares = (Share("v1", weight), Share("v2", 1))
    setting = Setting(f"app{number % (TARGETS // 50)}", "http", shares, preview=True, sticky=True)
    return TableItem(route=RouteLine(RouteKey(f"host{number}.example"), setting))


def owner(number: int) -> str:
    return f"6d1f0ad2-5f0c-5b43-9c8f-{number % DRONES:012d}"


def rows() -> Iterator[Registration]:
    """50 of each app: 10 of each of RELEASES releases, on different drones."""
    for number in range(TARGETS):
        app, release = number // 50, number % RELEASES
        commit = f"{app:020x}{release:020x}"
        host, port = f"10.0.0.{number % DRONES}", 20_000 + number // DRONES
        id = f"http-{number:010x}"
        yield Registration(id, commit, "http", host, port, f"app{app}", f"v{release + 1}", owner=owner(number))


class FakeHub(Conversation):
    def __init__(self, peer: Peer, met: Deferred[Any]) -> None:
        super().__init__()
        self.peer = peer
        self.standing: Standing | None = None
        self._met = met

    @responder(Enter)
    def enter(self, name: str) -> dict[str, Any]:
        self._met.callback(self)
        return {"epoch": HUB, "registry": "", "lease": 10.0}

    @responder(Stand)
    def stand(self, standing: Standing) -> dict[str, Any]:
        self.standing = standing
        return {}

    @responder(Count)
    def count(self, tallies: Any) -> dict[str, Any]:
        return {}

    @responder(Depart)
    def depart(self) -> dict[str, Any]:
        return {}

    async def follow(self, number: int, base: int, items: list[TableItem]) -> float:
        """Milliseconds until the router has acknowledged."""
        parts = pages(items)
        began = time.perf_counter()
        for part, page in enumerate(parts):
            revision = Revision(HUB, number)
            await self.peer.call(Follow, revision=revision, base=base, part=part, parts=len(parts), items=page)
        return (time.perf_counter() - began) * 1000


class FakeRegistry(Conversation):
    def __init__(self, reactor: Any, documents: list[dict[str, Any]]) -> None:
        super().__init__()
        self._reactor = reactor
        self._documents = documents

    @responder(ListRows)
    def list_rows(self, namespace: str, app: str, release: str, role: str, after: str) -> dict[str, Any]:
        start = int(after.removeprefix("http-"), 16) + 1 if after else 0
        page = self._documents[start : start + 100]
        return {"rows": page, "next": page[-1]["id"] if start + 100 < len(self._documents) else ""}

    @responder(Watch)
    async def watch(self, position: str, wait: float) -> dict[str, Any]:
        if position:
            await deferLater(self._reactor, wait)
        return {"reset": not position, "changes": [], "position": "end", "revision": Revision(REGISTRY, 1)}


async def measure(reactor: Any, directory: Path) -> dict[str, Any]:
    met: Deferred[FakeHub] = Deferred()
    documents = [to_json(row) for row in rows()]
    hub = ServerTerms(kind=HUB, secret=None, conversations={"route": lambda peer, session: FakeHub(peer, met)})
    registry = ServerTerms(
        kind=REGISTRY, secret=None, conversations={"read": lambda peer, session: FakeRegistry(reactor, documents)}
    )
    ports = []
    for terms in (hub, registry):
        factory = ServerFactory(reactor, terms)
        ports.append(await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory))
    addresses = [f"127.0.0.1:{port.getHost().port}" for port in ports]
    arguments = ["--hub", addresses[0], "--registry", addresses[1], "--port", "0", "--name", "big"]
    router = Daemon("router", directory / "big", arguments, [], None)
    router.launch()
    assert router.process is not None
    try:
        session = await met
        drones = [TableItem(drone=DroneHost(owner(number), f"10.0.0.{number}")) for number in range(DRONES)]
        whole = await session.follow(1, 0, [line(number) for number in range(ROUTES)] + drones)
        while session.standing is None or session.standing.registry.number < 1:
            await deferLater(reactor, 0.1)
        await deferLater(reactor, 5)  # until the rows are saved
        times = []
        for number in range(CHANGES):
            times.append(await session.follow(number + 2, number + 1, [line(number * 7, 3)]))
            await deferLater(reactor, 0.1)
        return {"whole": whole, "times": times, "resident": resident(router.process.pid)}
    finally:
        router.kill()


def run(directory: Path) -> list[str]:
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.router_size", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    times = found["times"]
    return [
        f"A router with {ROUTES} routes and {TARGETS} targets; a change of one route until it is saved and followed",
        "",
        "| | measured | allowed |",
        "| --- | --- | --- |",
        f"| change, median of {len(times)} | {median(times):.1f} ms | {ALLOWED_MS} ms |",
        f"| change, slowest | {max(times):.1f} ms | |",
        f"| all routes at once | {found['whole']:.0f} ms | |",
        f"| memory | {found['resident']:.0f} MB | {ALLOWED_MB} MB |",
    ]


def main(directory: str) -> None:
    from twisted.internet import reactor

    from deployd.daemon.clock import monotonic

    clock = monotonic(reactor)
    found: list[Any] = []

    def start() -> None:
        measuring = Deferred.fromCoroutine(measure(clock, Path(directory)))
        measuring.addBoth(found.append).addBoth(lambda _: clock.stop())

    clock.callWhenRunning(start)
    clock.run()
    (result,) = found
    if not isinstance(result, dict):
        result.raiseException()
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
