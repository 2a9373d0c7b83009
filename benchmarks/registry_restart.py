"""A registry of 100,000 rows that is killed (kill -9) and started again: served at once, confirmed soon.

Somebody asks for the rows of one role all the while and looks at every answer:
`python -m benchmarks.registry_restart DIRECTORY` measures in a process of its own. Once the owners' processes live on
and come back by themselves, once they were killed too and are started again with the registry.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from benchmarks import measuring, registry_clients, registry_owners
from benchmarks.registry_clients import EACH_ROLE, reader, role, row
from benchmarks.registry_owners import EACH, MARKER
from deployd.errors import DeploydError
from deployd.net.peer import Peer
from deployd.wire.lookup import Query
from tests.e2e.cluster import Daemon

OWNERS = 100
ALLOWED = 15.0
DEADLINE = 60.0
PAUSE = 0.002
STRIDE = 7919


class Asking:
    """Asks all the time, from the kill on. Times are seconds; ``slowest`` is of what was answered after the first."""

    def __init__(self, reactor: Any, address: str) -> None:
        self.first = 0.0
        self.confirmed = 0.0
        self.slowest = 0.0
        self.right = 0
        self.wrong = 0
        self._reactor = reactor
        self._address = address
        self._began = time.monotonic()
        self._asking = Deferred.fromCoroutine(self._ask())
        self.done: Deferred[None] = Deferred()
        self._asking.addCallbacks(self.done.callback, self.done.errback)

    async def _ask(self) -> None:
        number = 0
        while not self.confirmed:
            assert time.monotonic() < self._began + DEADLINE, vars(self)
            try:
                peer = await reader(self._reactor, self._address)
                while not self.confirmed:
                    number += STRIDE
                    await self._one(peer, number)
                    await deferLater(self._reactor, PAUSE)
                peer.transport.abortConnection()
            except DeploydError:
                # It is not there yet.
                assert not self.first, "a connection was lost after the registry was back"
                await deferLater(self._reactor, PAUSE)

    async def _one(self, peer: Peer, number: int) -> None:
        # The last role of an owner lacks a row, which is the marker.
        wanted = number % (OWNERS * EACH // EACH_ROLE) * EACH_ROLE
        began = time.monotonic()
        found = await query(peer, role(wanted))
        now = time.monotonic()
        ports = {row(each).port for each in range(wanted, wanted + EACH_ROLE) if each % EACH != EACH - 1}
        if {each["port"] for each in found} == ports and len(found) == len(ports):
            self.right += 1
        else:
            self.wrong += 1
        if self.first:
            self.slowest = max(self.slowest, now - began)
        self.first = self.first or now - self._began
        if number // STRIDE % 10 == 0:
            markers = await query(peer, MARKER)
            if len(markers) == OWNERS and not any(each["marked"] for each in markers):
                self.confirmed = time.monotonic() - self._began


async def query(peer: Peer, match: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after, every = "", {"namespace": "", "app": "", "release": "", "meta": {}, "near": "", "wait": 0.0}
    while True:
        answer = await peer.call(Query, match=match, after=after, **every)
        rows += answer["rows"]
        after = answer["next"]
        if not after:
            return rows


async def once(reactor: Any, daemon: Daemon, again: ExitStack | None, directory: Path) -> dict[str, float]:
    """Kill it, and with ``again`` the owners' processes too; start what was killed."""
    address = daemon.amp
    daemon.kill()
    if again is not None:
        again.close()
    asking = Asking(reactor, address)
    daemon.launch()
    if again is not None:
        owners = registry_owners.running(address, directory / "identities", [OWNERS // 2, OWNERS // 2])
        await deferToThread(again.enter_context, owners)
    await asking.done
    return {name: getattr(asking, name) for name in ("first", "confirmed", "slowest", "right", "wrong")}


async def measure(reactor: Any, directory: Path) -> dict[str, Any]:
    with ExitStack() as stack, ExitStack() as owners:
        daemon = registry_clients.registry(directory / "registry")
        stack.callback(daemon.kill)
        registry_clients.fixed(daemon)
        halves = [OWNERS // 2, OWNERS // 2]
        owners.enter_context(registry_owners.running(daemon.amp, directory / "identities", halves))
        return {
            "registry": await once(reactor, daemon, None, directory),
            "all": await once(reactor, daemon, owners, directory),
        }


def run(directory: Path) -> list[str]:
    directory.mkdir(exist_ok=True)
    found = measuring.measured("benchmarks.registry_restart", str(directory))
    lines = [
        f"{OWNERS * EACH:,} rows of {OWNERS} owners: seconds after a kill -9 and a start",
        "",
        "| killed | served | all confirmed | answers right | wrong | slowest answer, ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, what in (("registry", "registry"), ("all", "registry and owners")):
        figures = found[name]
        lines.append(
            f"| {what} | {figures['first']:.1f} | {figures['confirmed']:.1f} (<= {ALLOWED:.0f}) |"
            f" {figures['right']:,} | {figures['wrong']:,} | {1000 * figures['slowest']:.0f} |"
        )
    return lines


if __name__ == "__main__":
    measuring.answer(lambda reactor: measure(reactor, Path(sys.argv[1])))
