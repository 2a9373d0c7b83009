"""Many who follow a registry, in a process of their own: `python -m benchmarks.registry_watchers KIND ADDRESS COUNT`.

It prints "ready", then for each row, once all of them have seen it put, its id and when the last one had it.
KIND is `amp` (long polls) or `events` (server-sent events).
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.protocols.basic import LineOnlyReceiver

from benchmarks import measuring
from benchmarks.registry_clients import Follower, reader

AT_ONCE = 20
READY = b"ready"


class Tally:
    """How many have seen each row."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: Counter[str] = Counter()

    def saw(self, row_id: str) -> None:
        self._seen[row_id] += 1
        if self._seen[row_id] == self._count:
            print(row_id, time.monotonic(), flush=True)


class Events(LineOnlyReceiver, Protocol):
    """One stream of server-sent events; what is not a row that is put is passed over."""

    delimiter = b"\n"
    MAX_LENGTH = 1_000_000

    def __init__(self, tally: Tally) -> None:
        self.begun: Deferred[None] = Deferred()
        self._tally = tally

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        # From here on, that is: an old position would bring the table first.
        self.transport.write(b"GET /v1/watch?match=watched HTTP/1.1\r\nHost: registry\r\n\r\n")

    def lineReceived(self, line: bytes) -> None:
        if not self.begun.called:
            if not line.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(line.decode())
            self.begun.callback(None)
        _, found, rest = line.partition(b'"id":"watched-')
        if found and b'"type":"put"' in line:
            self._tally.saw("watched-" + rest.partition(b'"')[0].decode())


async def follow(reactor: Any, address: str, tally: Tally) -> None:
    def saw(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["type"] == "put":
                tally.saw(line["row"]["id"])

    await Follower(await reader(reactor, address), saw, match="watched").start()


async def listen(reactor: Any, address: str, tally: Tally) -> None:
    host, _, port = address.rpartition(":")
    events = await connectProtocol(HostnameEndpoint(reactor, host, int(port)), Events(tally))
    await events.begun


class Watchers(ProcessProtocol):
    """The process as its parent sees it."""

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._waiting: dict[str, Deferred[float]] = {}
        self._held = b""

    @classmethod
    async def start(cls, reactor: Any, kind: str, address: str, count: int) -> Watchers:
        """Until all of them follow."""
        watchers = cls()
        command = [sys.executable, "-m", "benchmarks.registry_watchers", kind, address, str(count)]
        reactor.spawnProcess(watchers, command[0], command, env=None, childFDs={0: "w", 1: "r", 2: 2})
        try:
            await watchers.ready
        except BaseException:
            await watchers.close()
            raise
        return watchers

    def seen(self, row_id: str) -> Deferred[float]:
        """When all of them have it."""
        return self._waiting.setdefault(row_id, Deferred())

    def outReceived(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            if line == READY:
                self.ready.callback(None)
                continue
            row_id, moment = line.decode().split()
            self.seen(row_id).callback(float(moment))

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)
        if not self.ready.called:
            self.ready.errback(reason)

    def close(self) -> Deferred[None]:
        if not self.ended.called:
            self.transport.signalProcess("KILL")
        return self.ended


async def main(reactor: Any, kind: str, address: str, count: int) -> None:
    tally = Tally(count)
    one = {"amp": follow, "events": listen}[kind]
    few = DeferredSemaphore(AT_ONCE)
    made = [few.run(lambda: Deferred.fromCoroutine(one(reactor, address, tally))) for _ in range(count)]
    await gatherResults(made, consumeErrors=True)
    print(READY.decode(), flush=True)


def run(kind: str, address: str, count: int) -> None:
    from twisted.internet import reactor

    from deployd.daemon.clock import monotonic
    from deployd.daemon.sockets import raise_file_limit

    raise_file_limit()
    gc.set_threshold(*measuring.COLLECTIONS)
    clock = monotonic(reactor)
    failures: list[Any] = []

    def start() -> None:
        made = Deferred.fromCoroutine(main(clock, kind, address, count))
        made.addErrback(failures.append).addCallback(lambda _: clock.stop() if failures else None)

    clock.callWhenRunning(start)
    clock.run()
    if failures:
        failures[0].raiseException()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
