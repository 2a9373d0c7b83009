"""What is asked of etcd beside the registry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred

from benchmarks import etcd
from benchmarks.registry_clients import row
from deployd.wire.codec import to_json
from deployd.wire.documents import dump


class Theirs:
    """etcd with as many keys, and values as long as our rows."""

    def __init__(self, reactor: Any, port: int, keys: int, connections: int) -> None:
        self._etcd = etcd.Etcd(reactor, port)
        self._connections = connections
        values = [dump(to_json(row(number))) for number in range(keys)]
        self._requests = [[etcd.put(*_pair(value, version)) for value in values] for version in range(2)]
        self._version = 0

    async def load(self) -> None:
        await self._etcd.connect(self._connections)
        await self._etcd.put_all(iter(self._requests[0]))

    async def clients(self, seconds: float) -> float:
        """Puts per second, one not acknowledged on each connection."""
        began = time.perf_counter()
        end = began + seconds

        def requests() -> Iterator[bytes]:
            while True:
                self._version += 1
                for said in self._requests[self._version % 2]:
                    if time.perf_counter() >= end:
                        return
                    yield said

        return await self._etcd.put_all(requests()) / (time.perf_counter() - began)

    async def seen(self, count: int) -> list[float]:
        """Milliseconds from each of ``count`` puts until a watch has it, one after the other."""
        waiting: list[Deferred[float]] = []
        await self._etcd.watch(lambda: waiting.pop().callback(time.perf_counter()) if waiting else None)
        found = []
        for number in range(count):
            seen: Deferred[float] = Deferred()
            waiting.append(seen)
            began = time.perf_counter()
            self._etcd.send(self._requests[0][number])
            found.append(1000 * (await seen - began))
        return found

    def close(self) -> None:
        self._etcd.close()


def _pair(value: bytes, version: int) -> tuple[bytes, bytes]:
    key = value[: value.index(b",")]
    return key, value[:-1] + b"%d" % version
