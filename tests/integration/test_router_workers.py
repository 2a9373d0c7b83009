"""A router's workers on real sockets: fed, asked, killed and replaced; the processes are this one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, Standing, TableItem
from deployd.router.table import Table
from deployd.router.worker_service import Worker
from deployd.router.workers import Workers
from deployd.wire.workers import Gauge

KEY = RouteKey("shop.example")
OWNER = "6d1f0ad2-5f0c-5b43-9c8f-000000000001"


def at(number: int, epoch: str = "e") -> Revision:
    return Revision(epoch, number)


def route(release: str) -> TableItem:
    return TableItem(route=RouteLine(KEY, Setting("webapp", "http", (Share(release, 1),))))


def row(number: int) -> Registration:
    return Registration(f"http-{number}", "a" * 40, "http", "10.0.0.1", 20_000 + number, "webapp", "v1", owner=OWNER)


ITEMS = (route("v1"), TableItem(drone=DroneHost(OWNER, "10.0.0.1")))


class OwnReactor:
    """The reactor, in which a worker that ends stops nobody else."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self.stop = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class FakeServing:
    def __init__(self) -> None:
        self.serves = self.finished = False

    def begin(self) -> None:
        self.serves = True

    def stop_accepting(self) -> Deferred[None]:
        self.serves = False
        return succeed(None)

    async def finish(self) -> None:
        self.finished = True

    def gauge(self) -> Gauge:
        return Gauge(connections=3)


class FakeProcess:
    """A worker process in this one."""

    def __init__(self, protocol: Any, descriptor: int) -> None:
        self.protocol = protocol
        self.pid = 4711
        self.alive = True
        self.serving = FakeServing()
        self.table = Table(reactor)
        self.worker = Worker(OwnReactor(self.end), self.table, self.serving)  # type: ignore[arg-type]
        connection = socket.socket(fileno=os.dup(descriptor))
        connection.setblocking(False)
        protocol.makeConnection(self)
        self.worker.begin(connection)

    def signalProcess(self, number: str) -> None:
        if not self.alive:
            raise ProcessExitedAlready
        self.end(signal.SIGKILL)

    def end(self, number: int | None = None) -> None:
        if self.alive:
            self.alive = False
            if not self.worker._peer.is_closed:
                self.worker._peer.transport.abortConnection()
            status = ProcessTerminated(None if number else 0, number)
            reactor.callLater(0, self.protocol.processExited, Failure(status))


class House:
    """A main process' table, and its workers."""

    def __init__(self, count: int = 2) -> None:
        self.processes: list[FakeProcess] = []
        self.table = Table(reactor)
        self.table.follow(at(1), ITEMS, True)
        self.table.rows_changed([row(1)], (), at(1, "r"))
        self.workers = Workers(reactor, count, self.spawn, self.table.snapshot, lambda: None)
        self.workers.start()

    def spawn(self, protocol: Any, descriptor: int) -> None:
        self.processes.append(FakeProcess(protocol, descriptor))

    @property
    def alive(self) -> list[FakeProcess]:
        return [process for process in self.processes if process.alive]

    async def follow(self, number: int, *items: TableItem) -> None:
        self.table.follow(at(number), items, False)
        await self.workers.follow(at(number), items, False)

    def standing(self) -> Standing:
        return self.workers.standing(self.table.standing())

    async def until(self, condition: Callable[[], Any]) -> None:
        for _ in range(6000):
            if condition():
                return
            await deferLater(reactor, 0.005)
        raise AssertionError("not in time")

    async def ready(self) -> House:
        await self.until(lambda: self.workers.serving == len(self.alive))
        return self

    async def close(self) -> None:
        await self.workers.finish()
        await self.workers.ended(5)
        self.table.registry_lost()
        # Both ends hear that their connection is gone.
        await deferLater(reactor, 0.02)
        for process in self.processes:
            process.table.registry_lost()


@pytest_twisted.ensureDeferred
async def test_a_worker_serves_once_it_has_the_whole_table() -> None:
    house = await House().ready()
    for process in house.processes:
        assert process.serving.serves
        assert process.table.snapshot() == house.table.snapshot()
    assert house.standing() == house.table.standing()
    await house.close()
    assert all(process.serving.finished for process in house.processes)
    assert house.alive == []


@pytest_twisted.ensureDeferred
async def test_a_machine_without_room_for_a_worker_has_one_later() -> None:
    class Crowded(House):
        full = 2

        def spawn(self, protocol: Any, descriptor: int) -> None:
            self.full -= 1
            if self.full >= 0:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            super().spawn(protocol, descriptor)

    house = Crowded()
    assert house.alive == []
    await house.until(lambda: house.workers.serving == 2)
    await house.follow(2, route("v2"))
    await house.close()


@pytest_twisted.ensureDeferred
async def test_an_update_is_done_when_every_worker_follows() -> None:
    house = await House().ready()
    await house.follow(2, route("v2"))
    for process in house.processes:
        assert process.table.table == at(2)
        assert process.table.snapshot().items == house.table.snapshot().items
    assert house.standing().table == at(2)
    await house.close()


@pytest_twisted.ensureDeferred
async def test_changes_of_rows_reach_all_in_many_parts() -> None:
    house = await House().ready()
    changes = house.table.rows_changed([row(number) for number in range(2000)], (), at(2, "r"))
    house.workers.change_rows(changes.put, changes.gone, at(2, "r"))
    changes = house.table.rows_changed((), [f"http-{number}" for number in range(500, 2000)], at(3, "r"))
    house.workers.change_rows(changes.put, changes.gone, at(3, "r"))
    await house.until(lambda: house.standing().registry == at(3, "r"))
    for process in house.processes:
        assert set(process.table.snapshot().rows) == {row(number) for number in range(500)}
    await house.close()


@pytest_twisted.ensureDeferred
async def test_what_a_registry_keeps_over_a_restart_stays_in_the_workers_too() -> None:
    """Only the main process knows what was confirmed: it is no news."""
    house = await House().ready()
    changes = house.table.rows_changed([row(2)], (), at(2, "r"))
    house.workers.change_rows(changes.put, changes.gone, at(2, "r"))
    changes = house.table.rows_replaced([row(1), row(2), row(3)], at(1, "new"))
    assert changes.put == (row(3),)
    house.workers.change_rows(changes.put, changes.gone, at(1, "new"))
    await house.until(lambda: house.standing().registry == at(1, "new"))
    for process in house.processes:
        assert set(process.table.snapshot().rows) == {row(1), row(2), row(3)}
        assert not process.table.rows.unconfirmed
    await house.close()


@pytest_twisted.ensureDeferred
async def test_nobody_is_said_to_stand_where_a_worker_does_not() -> None:
    house = await House().ready()
    slow = house.processes[0]
    slow.worker._peer.transport.pauseProducing()
    following = Deferred.fromCoroutine(house.follow(2, route("v2")))
    await house.until(lambda: house.processes[1].table.table == at(2))
    await deferLater(reactor, 0.05)
    assert not following.called
    assert house.standing().table == at(1)
    slow.worker._peer.transport.resumeProducing()
    await following
    assert house.standing().table == at(2)
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_dead_worker_is_not_waited_for_and_its_successor_has_the_newest_table() -> None:
    house = await House().ready()
    slow = house.processes[0]
    slow.worker._peer.transport.pauseProducing()
    following = Deferred.fromCoroutine(house.follow(2, route("v2")))
    await deferLater(reactor, 0.05)
    slow.signalProcess("KILL")
    await following
    assert house.standing().table == at(2)
    await house.until(lambda: house.workers.serving == 2)
    assert len(house.processes) == 3
    assert house.processes[2].table.table == at(2)
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_worker_that_is_being_fed_is_not_waited_for_but_serves_no_old_table() -> None:
    house = House()
    fed = [house.follow(number, route(f"v{number}")) for number in range(2, 30)]
    await gatherResults([Deferred.fromCoroutine(each) for each in fed])
    await house.ready()
    for process in house.processes:
        assert process.table.table == at(29)
    await house.close()


@pytest_twisted.ensureDeferred
async def test_what_is_busy_in_any_of_them_is_busy() -> None:
    house = await House().ready()
    for process in house.processes:
        target = process.table.rows.targets["http-1"]
        process.table.begin(target)
    await house.follow(2, TableItem(leaving="http-1"))
    assert house.standing().busy == {"http-1": 2}
    ended = [process.table for process in house.processes]
    for number, table in enumerate(ended):
        await house.until(lambda number=number: house.standing().busy.get("http-1", 0) == 2 - number)
        table.end(next(iter([*table.rows.targets.values(), *table.lingering])))
    await house.until(lambda: house.standing().busy == {})
    await house.close()


@pytest_twisted.ensureDeferred
async def test_tallies_and_gauges_are_added_up() -> None:
    house = await House().ready()
    for process in house.processes:
        decision = process.table.decide(b"shop.example", b"/", b"", b"", 0.0, 0.0)
        decision.count.add(200, 0.25)  # type: ignore[union-attr]
    await house.until(lambda: house.workers.gauge().connections == 6)
    await house.until(lambda: house.workers.tallies(0)[1])
    await house.until(lambda: house.workers.tallies(0)[1][0].requests == 2)
    (tally,) = house.workers.tallies(0)[1]
    assert (tally.key, tally.release, tally.seconds) == (KEY, "v1", 0.5)
    await house.follow(2, TableItem(gone=KEY))
    assert house.workers.tallies(0)[1] == ()
    await house.close()


@pytest_twisted.ensureDeferred
async def test_the_last_tallies_of_an_orderly_end_are_not_lost() -> None:
    house = await House(1).ready()
    decision = house.processes[0].table.decide(b"shop.example", b"/", b"", b"", 0.0, 0.0)
    decision.count.add(500, 0.5)  # type: ignore[union-attr]
    await house.close()
    (tally,) = house.workers.tallies(0)[1]
    assert (tally.requests, tally.errors, tally.seconds, tally.classes) == (1, 1, 0.5, (0, 0, 0, 0, 1))
