"""What drains on one drone, moment by moment."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.hub.drains import Drains
from deployd.model.desired import Desired
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.model.revision import Revision
from deployd.model.router import ReleaseKey
from deployd.planning.draining import SETTLE

TOLD = Revision("hub", 7)
LINES = tuple(
    AssignedInstance(f"{role}-1", "webapp", "v1", "a" * 40, role, ("serve",), True, Goal.DRAIN)
    for role in ("http", "say")
)


class Passed:
    """Routers that are there and have nothing of anything any more."""

    def live(self) -> tuple[str, ...]:
        return ("ra",)

    def passed(self, id: str, freed: Revision | None) -> bool:
        return True

    def quiet(self, release: ReleaseKey) -> bool:
        return True


def observed(line: AssignedInstance, freed: bool) -> ObservedInstance:
    seen = ObservedInstance(line.id, line.app, line.release, line.commit, line.role, State.DRAINING)
    return evolve(seen, deregistered=Revision("registry", 1)) if freed else seen


class DrainsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.looks = 0
        self.drains = Drains(self.clock, Passed(), self.look_soon)
        self.addCleanup(lambda: self.drains.close())
        self.drains.follow(Desired(), LINES, TOLD, {})

    def look_soon(self) -> None:
        self.looks += 1

    def look(self, *freed: bool) -> set[str]:
        seen = {line.id: observed(line, is_free) for line, is_free in zip(LINES, freed, strict=True)}
        return set(self.drains.look(Desired(), seen, TOLD))

    def test_all_of_a_release_ends_when_the_last_of_it_has_settled(self) -> None:
        self.assertEqual(self.look(True, False), set())
        self.clock.advance(SETTLE / 2)
        self.assertEqual(self.look(True, True), set())
        self.clock.advance(SETTLE / 2)
        self.assertEqual(self.look(True, True), set())
        self.clock.advance(SETTLE / 2)
        self.assertEqual(self.look(True, True), {"http-1", "say-1"})

    def test_a_moment_that_comes_between_a_look_and_what_follows_is_looked_at(self) -> None:
        self.look(True, True)
        self.clock.advance(SETTLE * 0.9)
        self.looks = 0
        self.look(True, True)
        # Time passes while the rest is planned; no call is made meanwhile.
        self.clock.rightNow += SETTLE * 0.2
        self.drains.follow(Desired(), LINES, TOLD, {})
        self.clock.advance(0)
        self.assertEqual(self.looks, 1)
        self.assertEqual(self.look(True, True), {"http-1", "say-1"})
