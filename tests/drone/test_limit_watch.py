"""What no kernel limits, the drone looks at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.instance import Instance
from deployd.drone.isolation import Isolation
from deployd.drone.limit_watch import EVERY, MEASURE_EVERY, Disk, LimitWatch
from deployd.model.role import Limits, RoleSettings
from deployd.planning.excess import WORTH
from deployd.processes.cgroups import Groups
from deployd.processes.forest import ProcessRef
from tests.drone.house import House, line, state_of

M = 1 << 20


class FakeCensus:
    """Each instance has as many processes as the test says; none of them is real."""

    def __init__(self) -> None:
        self.processes = 1
        self.asked = 0

    def find(self, instance: str, session: ProcessRef | None) -> Deferred[frozenset[ProcessRef]]:
        self.asked += 1
        return succeed(frozenset(ProcessRef(2**22 + number, "boot:1") for number in range(self.processes)))


class LimitWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        self.house = House(directory)
        self.addCleanup(self.house.close)
        self.census = FakeCensus()
        self.free = 10 << 30
        self.instances: list[Instance] = []
        self.checkout = directory / "checkout"
        self.checkout.mkdir()

    def watch(self, limits: Limits) -> Instance:
        house = self.house
        disk = Disk(self.to_thread, lambda: (self.free, 512 * M), lambda key: self.checkout)
        watch = LimitWatch(house.means, self.census, disk, lambda: self.instances)  # type: ignore[arg-type]
        watch.startService()
        self.addCleanup(watch.stopService)
        instance = house.ready(evolve(line(), settings=RoleSettings(limits=limits)))
        self.assertEqual(state_of(instance), "ready")
        self.instances.append(instance)
        return instance

    def to_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        return succeed(function(*arguments))

    def reason(self, instance: Instance) -> str:
        return str(instance.observed().reason)

    def test_an_instance_with_too_many_processes_is_ended(self) -> None:
        instance = self.watch(Limits(processes=3))
        self.census.processes = 3
        self.house.pass_time(EVERY + 0.1)
        self.assertEqual(state_of(instance), "ready")
        self.census.processes = 4
        self.house.pass_time(EVERY + 0.1)
        self.assertEqual(self.reason(instance), "had 4 processes, more than its 3")
        self.assertEqual(self.house.ended[-1][0], instance.line.id)

    def test_nobody_looks_at_what_is_not_limited_or_is_the_kernels(self) -> None:
        self.watch(Limits(files=20, cpu=10))
        self.house.pass_time(2 * EVERY)
        self.assertEqual(self.census.asked, 0)
        groups = Groups(2, {"memory": Path("/nowhere"), "pids": Path("/nowhere")})
        self.assertEqual(Isolation(groups).watched(), ("disk",))
        self.assertEqual(Isolation().watched(), ("memory", "processes", "disk"))

    def test_what_it_writes_is_counted_where_it_has_a_limit(self) -> None:
        instance = self.watch(Limits(disk=M))
        (self.checkout / "large").write_bytes(b"x" * 2 * M)
        self.house.pass_time(MEASURE_EVERY + 0.1)
        self.assertEqual(self.reason(instance), "has 2M on the disk, more than its 1M")

    def test_temporary_files_are_counted_too(self) -> None:
        instance = self.watch(Limits(disk=M))
        (self.house.means.scratch.path(instance.line.id) / "large").write_bytes(b"x" * 2 * M)
        self.house.pass_time(MEASURE_EVERY + 0.1)
        self.assertIn("more than its 1M", self.reason(instance))

    def test_on_a_full_disk_nobody_goes_who_has_not_filled_it(self) -> None:
        instance = self.watch(Limits())
        (self.checkout / "small").write_bytes(b"x" * M)
        self.free = 0
        self.house.pass_time(EVERY + 0.1)
        self.assertEqual(state_of(instance), "ready")

    def test_on_a_full_disk_whoever_has_written_most_goes(self) -> None:
        instance = self.watch(Limits())
        with (self.checkout / "large").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, WORTH + M)
        self.free = 257 * M
        self.house.pass_time(EVERY + 0.1)
        self.assertEqual(state_of(instance), "ready")
        self.free = 100 * M
        self.house.pass_time(EVERY + 0.1)
        self.assertIn("the disk is full (100M are left), and it has written 65M", self.reason(instance))
