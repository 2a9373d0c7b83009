"""Whatever is ordered, in whatever order: no instance with requests under way is ended before its time."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import DeploydError
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.wire.control import DrainDrone, Restart, Retire, RetireUnused, SetPolicy, Stop
from tests.hub.rig import Cluster

PROCFILE = {"Procfile": b"http: serve http\nsay: serve say\n"}


class Day:
    """A hub, two drones and two routers, which would send requests where they begin; ``cut_off`` has what was ended."""

    def __init__(self) -> None:
        self.cut_off: list[str] = []
        self.cluster = Cluster()
        self.cluster.push(files=PROCFILE)
        self.drones = [self.cluster.drone(name, command=()) for name in ("d1", "d2")]
        self.routers = [self.cluster.router(name) for name in ("r1", "r2")]
        self.ask(SetPolicy, app="webapp", values={"drain": "1w"})
        self.cluster.deploy()
        for drone in self.drones:
            self.watch(drone)

    def ask(self, command: Any, **arguments: Any) -> None:
        with contextlib.suppress(DeploydError):
            self.cluster.person.ask(command, **arguments)

    def watch(self, drone: Any) -> None:
        """Check every assignment when it is followed, against what runs then."""
        follow = drone._follow

        def checked() -> None:
            told = drone.told[-1]
            self.cut_off += [line.id for line in told.values() if self.is_cut_off(line, drone.seen.get(line.id))]
            self.cut_off += [id for id in drone.seen.keys() - told.keys() if self.is_busy(drone.seen[id])]
            follow()

        drone._follow = checked

    def is_cut_off(self, line: AssignedInstance, one: ObservedInstance | None) -> bool:
        if one is None or not self.is_busy(one):
            return False
        starts_anew = line.goal is Goal.RUN and one.generation != line.generation
        return starts_anew or line.goal is Goal.STOP

    def is_busy(self, one: ObservedInstance) -> bool:
        return any(router.busy.get(one.id) for router in self.routers)

    def instances(self) -> list[ObservedInstance]:
        return sorted((one for drone in self.drones for one in drone.seen.values()), key=lambda one: one.id)

    # What happens; ``n`` chooses.

    def begin(self, n: int) -> None:
        router = self.routers[n % 2]
        ready = [
            one
            for one in self.instances()
            if one.state is State.READY
            and one.id not in router.leaving
            and f"{one.app} {one.release}" not in router.retiring
        ]
        if ready:
            one = ready[n // 2 % len(ready)]
            router.busy[one.id] = router.releases[f"{one.app} {one.release}"] = 1
            router.stand()

    def end(self, n: int) -> None:
        router = self.routers[n % 2]
        if router.busy:
            ids = {one.id: f"{one.app} {one.release}" for one in self.instances()}
            router.busy.pop(sorted(router.busy)[n // 2 % len(router.busy)])
            router.releases = {ids[id]: 1 for id in router.busy}
            router.stand()

    def deploy(self, n: int) -> None:
        if n % 2:
            self.cluster.push(files=PROCFILE)
        with contextlib.suppress(DeploydError):
            self.cluster.deploy("master" if n % 4 < 2 else "v1")

    def retire(self, n: int) -> None:
        self.ask(Retire, app="webapp", commit=f"v{n % 3 + 1}")

    def retire_unused(self, n: int) -> None:
        self.ask(RetireUnused, app="", dry_run=False, after="")

    def stop(self, n: int) -> None:
        self.ask(Stop, ids=[self.some(n)])

    def restart(self, n: int) -> None:
        self.ask(Restart, ids=[self.some(n)])

    def some(self, n: int) -> str:
        ids = [one.id for one in self.instances()]
        return ids[n % len(ids)] if ids else "nothing"

    def drain(self, n: int) -> None:
        self.ask(DrainDrone, name=f"d{n % 2 + 1}", drain=True, force=True)

    def undrain(self, n: int) -> None:
        self.ask(DrainDrone, name=f"d{n % 2 + 1}", drain=False, force=False)

    def lose(self, n: int) -> None:
        """A drone's link is cut, and later it is back."""
        self.drones[n % 2].leave()
        self.cluster.pass_time(n // 2 % 2)
        self.drones[n % 2].join()

    def restart_hub(self, n: int) -> None:
        self.cluster.restart()
        back = [*self.routers, *self.drones] if n % 2 else [*self.drones, *self.routers]
        for each in back:
            each.enter() if each in self.routers else each.join()


DEEDS = (
    Day.begin,
    Day.begin,
    Day.begin,
    Day.end,
    Day.deploy,
    Day.retire,
    Day.retire_unused,
    Day.stop,
    Day.restart,
    Day.drain,
    Day.undrain,
    Day.lose,
    Day.restart_hub,
)
happenings = st.tuples(st.sampled_from(DEEDS), st.integers(0, 30), st.sampled_from([0, 0, 0.6, 1.1]))


class StopsTests(SynchronousTestCase):
    @settings(max_examples=25, deadline=None)
    @given(st.lists(happenings, min_size=10, max_size=30))
    def test_no_instance_with_requests_under_way_is_ended(self, happened: list[tuple[Any, int, float]]) -> None:
        day = Day()
        for deed, n, seconds in happened:
            deed(day, n)
            day.cluster.pass_time(seconds)
            self.assertEqual(day.cut_off, [])
        for router in day.routers:
            router.busy.clear()
            router.releases.clear()
            router.stand()
        day.cluster.pass_time(15)
        for router in day.routers:
            self.assertEqual((router.leaving, router.retiring), (set(), set()))
        for drone in day.drones:
            self.assertNotIn(Goal.DRAIN, drone.lines.values())
            told = drone.told[-1] if drone.told else {}
            for line in told.values():
                self.assertEqual(drone.seen[line.id].generation, line.generation)
