"""The registry beside etcd: durable registrations, how soon they are seen, and queries.

Both hold 10,000 rows or keys, and take their turns in one run: `python -m benchmarks.registry_speed DIRECTORY`. A
registration here is a change of a row that is there; etcd's is a put of a key that is there, to a value as long as the
row. What is asked of etcd is put together before, and what it answers is not parsed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults

from benchmarks import etcd, measuring, registry_clients, registry_floor
from benchmarks.registry_clients import Follower, Owner, changed, reader, role, row
from benchmarks.registry_etcd import Theirs
from benchmarks.registry_watchers import Watchers
from deployd.model.registration import Registration
from deployd.net.peer import Peer
from deployd.wire.lookup import Query

ROWS = 10_000
MANY_ROWS = 100_000
OWNERS, IN_FLIGHT = 10, 5
CONNECTIONS = OWNERS * IN_FLIGHT
# Of the rows these belong to the owners, the others to the one that batches.
EACH = 500
SECONDS = 1.5
ROUNDS = 5
SEEN = 450
WATCHERS = 1000
WATCHED = 20
QUERIES = 500
CLIENTS_WANTED, BATCHED_WANTED = 1.5, 4.0
SEEN_P99_MS, WATCHERS_MS, QUERY_MS = 5.0, 200.0, 1.0


class Ours:
    """Owners with a session each, and one that batches; of the registry, or of what stands in for it."""

    def __init__(self, reactor: Any, address: str) -> None:
        self._owners = [Owner(reactor, address, f"drone-{number}") for number in range(OWNERS)]
        self._batching = Owner(reactor, address, "batching")
        self._rows = [row(number) for number in range(ROWS)]
        self._variants = [changed(self._rows, version) for version in range(4)]
        self._version = 0

    async def load(self) -> None:
        for number, owner in enumerate(self._owners):
            await owner.put_all(self._rows[number * EACH : (number + 1) * EACH])
        await self._batching.put_all(self._rows[OWNERS * EACH :])

    async def clients(self, seconds: float) -> float:
        """Registrations per second of all owners, each with IN_FLIGHT of them not acknowledged."""
        began = time.perf_counter()
        end = began + seconds
        lanes = []
        for number, owner in enumerate(self._owners):
            first = number * EACH
            for lane in range(first, first + IN_FLIGHT):
                lanes.append(self._lane(owner, list(range(lane, first + EACH, IN_FLIGHT)), end))
        return sum(await gatherResults(lanes)) / (time.perf_counter() - began)

    def _lane(self, owner: Owner, numbers: list[int], end: float) -> Deferred[int]:
        """One after the other until ``end``; fires with how many there were."""
        done: Deferred[int] = Deferred()
        rows = self._changes(numbers)
        count = -1

        def go_on(_: Any) -> None:
            nonlocal count
            count += 1
            if time.perf_counter() >= end:
                done.callback(count)
            else:
                owner.rows.put(next(rows)).addCallbacks(go_on, done.errback)

        go_on(None)
        return done

    def _changes(self, numbers: Sequence[int]) -> Iterator[Registration]:
        while True:
            self._version += 1
            variant = self._variants[self._version % 4]
            for number in numbers:
                yield variant[number]

    async def batched(self, seconds: float) -> float:
        """Registrations per second of one owner that hands all its rows over at once, again and again."""
        began = time.perf_counter()
        count = 0
        while time.perf_counter() < began + seconds:
            self._version += 1
            rows = self._variants[self._version % 4][OWNERS * EACH :]
            await self._batching.put_all(rows)
            count += len(rows)
        return count / (time.perf_counter() - began)

    async def seen(self, peer: Peer, count: int) -> list[float]:
        """Milliseconds from each of ``count`` registrations until another client has it, one after the other."""
        waiting: dict[int, Deferred[float]] = {}

        def saw(lines: list[dict[str, Any]]) -> None:
            now = time.perf_counter()
            for line in lines:
                waiting.pop(line["row"]["port"]).callback(now)

        follower = Follower(peer, saw)
        await follower.start()
        found = []
        for number in range(count):
            port = 1000 + number
            waiting[port] = seen = Deferred()
            put = evolve(self._rows[0], port=port)
            began = time.perf_counter()
            done = self._owners[0].rows.put(put)
            found.append(1000 * (await seen - began))
            await done
        follower.close()
        return found

    async def watched(self, watchers: Watchers, count: int, tag: str) -> list[float]:
        """Milliseconds from each registration until the last of the watchers has it."""
        found = []
        for number in range(count):
            put = evolve(self._rows[0], id=f"watched-{tag}-{number}", role="watched")
            began = time.monotonic()
            done = self._owners[0].rows.put(put)
            found.append(1000 * (await watchers.seen(put.id) - began))
            await done
        for number in range(count):
            await self._owners[0].rows.free(f"watched-{tag}-{number}")
        return found

    async def close(self) -> None:
        await gatherResults([owner.close() for owner in (*self._owners, self._batching)])


async def queries(peer: Peer, pid: int, rows: int) -> dict[str, float]:
    """What a query of one role among ``rows`` takes: of the registry's CPU, all included, and until it is answered."""
    every = {"namespace": "", "app": "", "release": "", "meta": {}, "near": "", "wait": 0.0, "after": ""}
    took = []
    used = measuring.cpu(pid)
    for number in range(QUERIES):
        began = time.perf_counter()
        answer = await peer.call(Query, match=role(number * 7919 % rows), **every)
        took.append(1000 * (time.perf_counter() - began))
        assert len(answer["rows"]) == registry_clients.EACH_ROLE
    return {
        "cpu": 1000 * (measuring.cpu(pid) - used) / QUERIES,
        "took": median(took),
        "p99": quantiles(took, n=100)[98],
    }


async def measure(reactor: Any, directory: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        port = stack.enter_context(etcd.running(directory / "etcd"))
        daemon = registry_clients.registry(directory / "registry")
        stack.callback(daemon.kill)
        assert daemon.process is not None
        pid = daemon.process.pid
        theirs, ours = Theirs(reactor, port, ROWS, CONNECTIONS), Ours(reactor, daemon.amp)
        floor = Ours(reactor, stack.enter_context(registry_floor.running()))
        for each in (theirs, ours, floor):
            await each.load()
        rates: dict[str, list[float]] = {}
        measures = {
            "etcd": theirs.clients,
            "clients": ours.clients,
            "batched": ours.batched,
            "floor": floor.clients,
            "floor batched": floor.batched,
        }
        for _ in range(measuring.rounds(ROUNDS)):
            for name, rate in measures.items():
                rates.setdefault(name, []).append(await rate(SECONDS))
        await floor.close()
        seen: dict[str, list[float]] = {"etcd": [], "ours": []}
        for _ in range(3):
            seen["etcd"] += await theirs.seen(SEEN // 3)
            seen["ours"] += await ours.seen(await reader(reactor, daemon.amp), SEEN // 3)
        theirs.close()
        peer = await reader(reactor, daemon.amp)
        found: dict[str, Any] = {"rates": rates, "seen": seen, "watched": {}}
        found["queries"] = {str(ROWS): await queries(peer, pid, ROWS)}
        for kind, address in {"amp": daemon.amp, "events": daemon.http}.items():
            watchers = await Watchers.start(reactor, kind, address, WATCHERS)
            try:
                found["watched"][kind] = await ours.watched(watchers, WATCHED, kind)
            finally:
                await watchers.close()
        more = [Owner(reactor, daemon.amp, f"more-{first}") for first in range(ROWS, MANY_ROWS, ROWS)]
        for number, owner in enumerate(more, 1):
            await owner.put_all(row(number * ROWS + each) for each in range(ROWS))
        found["queries"][str(MANY_ROWS)] = await queries(peer, pid, MANY_ROWS)
        await ours.close()
        await gatherResults([owner.close() for owner in more])
        return found


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


def rates(found: dict[str, list[float]]) -> Iterator[str]:
    middle = {name: median(values) for name, values in found.items()}
    known = middle["etcd"]
    yield "| durable registrations | a second | of etcd | of the floor |"
    yield "| --- | --- | --- | --- |"
    yield f"| etcd, {CONNECTIONS} connections | {known:,.0f} | 1.00 | |"
    for name, floor, wanted, what in (
        ("clients", "floor", CLIENTS_WANTED, f"{OWNERS} clients, {IN_FLIGHT} under way each"),
        ("batched", "floor batched", BATCHED_WANTED, "one client, batched"),
    ):
        rate = middle[name]
        yield f"| {what} | {rate:,.0f} | {rate / known:.2f} (>= {wanted}) | {rate / middle[floor]:.2f} |"
    for name, what in (("floor", f"a dict, {OWNERS} clients"), ("floor batched", "a dict, one client, batched")):
        yield f"| {what} | {middle[name]:,.0f} | {middle[name] / known:.2f} | 1.00 |"


def latencies(found: dict[str, Any]) -> Iterator[str]:
    seen, watched, asked = found["seen"], found["watched"], found["queries"]
    yield "| milliseconds | median | p99 |"
    yield "| --- | --- | --- |"
    known = median(seen["etcd"])
    yield f"| etcd: put until a watch has it | {known:.2f} | {p99(seen['etcd']):.2f} |"
    yield (
        f"| registered until another client has it | {median(seen['ours']):.2f} (<= {known:.2f}) |"
        f" {p99(seen['ours']):.2f} (<= {SEEN_P99_MS:.0f}) |"
    )
    for kind, values in watched.items():
        what = {"amp": "until", "events": "the same, server-sent events: until"}[kind]
        latest = f"{max(values):.0f} (slowest; <= {WATCHERS_MS:.0f})"
        yield f"| {what} the last of {WATCHERS:,} has it | {median(values):.0f} | {latest} |"
    for rows, figures in asked.items():
        yield f"| query of one role among {int(rows):,} rows | {figures['took']:.2f} | {figures['p99']:.2f} |"
        yield f"| of that the registry's CPU | {figures['cpu']:.2f} (<= {QUERY_MS:.0f}) | |"


def run(directory: Path) -> list[str]:
    if not etcd.is_installed():
        return ["The registry beside etcd: not measured, etcd is not installed"]
    directory.mkdir(exist_ok=True)
    found = measuring.measured("benchmarks.registry_speed", str(directory))
    count = len(found["rates"]["etcd"])
    lines = [f"The registry beside etcd, {ROWS:,} rows or keys, median of {count} interleaved rounds", ""]
    lines += [*rates(found["rates"]), "", *latencies(found)]
    return lines


if __name__ == "__main__":
    measuring.answer(lambda reactor: measure(reactor, Path(sys.argv[1])))
