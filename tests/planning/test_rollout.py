"""How far a release has come."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.desired import Changes, Desired, KnownDrone, Order
from deployd.model.drone import DroneDescription
from deployd.model.extra import Extra
from deployd.model.instance import AssignedInstance, ObservedInstance, State
from deployd.model.release import DroneStatus, Need, Release, ReleaseState
from deployd.model.role import RoleCommand
from deployd.planning.placement import assignment, wanted_lines
from deployd.planning.rollout import Verdict, status, statuses, summary, verdict
from deployd.planning.view import HOPELESS_FAILURES, UNSEEN, View
from tests.planning.states import desired, needs
from tests.planning.test_placement import obeyed

rows = st.lists(
    st.sampled_from(["ready", "pending", "failed", "away", "nothing"]).map(lambda state: DroneStatus("d", state)),
    max_size=8,
)


class VerdictProperties(SynchronousTestCase):
    @given(needs, rows)
    def test_met_is_as_many_as_needed(self, need: Need, found: list[DroneStatus]) -> None:
        good = sum(row.state in ("ready", "nothing") for row in found)
        self.assertEqual(verdict(need, found) is Verdict.MET, bool(found) and good >= need.count(len(found)))

    @given(needs, rows)
    def test_while_it_waits_it_can_still_be_met(self, need: Need, found: list[DroneStatus]) -> None:
        better = [evolve(row, state="ready") if row.state in ("pending", "away") else row for row in found]
        can_be = verdict(need, better) is Verdict.MET
        self.assertEqual(verdict(need, found) is Verdict.IMPOSSIBLE, not can_be)

    @given(needs, rows, st.randoms(use_true_random=False))
    def test_the_order_of_drones_is_irrelevant(self, need: Need, found: list[DroneStatus], random) -> None:
        other = list(found)
        random.shuffle(other)
        self.assertEqual(verdict(need, found), verdict(need, other))
        self.assertEqual(summary(need, found), summary(need, other))

    @given(desired())
    def test_drones_that_do_what_they_are_told_are_ready(self, state: Desired) -> None:
        """Unless they have nothing to run, cannot, or were told to stop it."""
        views = {}
        for name, drone in state.drones.items():
            seen = obeyed(assignment(state, drone.description, {}), {})
            views[name] = View(connected=True, current=True, instances=seen)
        for release in state.wanted:
            for row in statuses(state, release, views):
                lines = wanted_lines(state, release, state.drones[row.drone].description)
                lines = [line for line in lines if not line.extra]
                stopped = any(line.id in state.orders and state.orders[line.id].stopped for line in lines)
                if release.held_up:
                    self.assertIn(row.state, ("failed",) if stopped else ("pending", "nothing", "failed"))
                else:
                    self.assertIn(row.state, ("failed",) if stopped else ("ready", "nothing", "failed"))
                if row.state == "failed" and not stopped:
                    self.assertIn("Procfile", row.reason)


def ready(line: AssignedInstance) -> ObservedInstance:
    made = (line.id, line.app, line.release, line.commit, line.role, State.READY)
    return ObservedInstance(*made, generation=line.generation)


class StatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.drone = KnownDrone(DroneDescription("d1", "owner", command=("x",)), "h")
        self.release = Release("webapp", 1, "c" * 40, ReleaseState.DEPLOYING, 0.0, attempt=1)
        self.use()

    def use(self, *orders: Order) -> None:
        self.state = Desired().after(Changes(drones=(self.drone,), releases=(self.release,), orders=orders))
        self.lines = tuple(wanted_lines(self.state, self.release, self.drone.description))

    def seen(self, current: bool = True, **changes: object) -> DroneStatus:
        each = {
            line.id: evolve(
                ObservedInstance(line.id, line.app, line.release, line.commit, line.role, State.READY, generation=1),
                **changes,
            )
            for line in self.lines
        }
        return status(self.state, self.release, self.drone, View(True, current, each))

    def test_ready_is_ready_and_of_the_right_generation(self) -> None:
        self.assertEqual(self.seen().state, "ready")
        self.assertEqual(self.seen(generation=0).state, "pending")

    def test_not_connected_is_away_and_not_heard_is_pending(self) -> None:
        self.assertEqual(status(self.state, self.release, self.drone, UNSEEN).state, "away")
        self.assertEqual(status(self.state, self.release, self.drone, View(True, True, {})).state, "pending")

    def test_a_report_of_an_older_assignment_tells_nothing(self) -> None:
        self.assertEqual(self.seen(current=False).state, "pending")
        self.assertEqual(self.seen(current=False, state=State.BACKOFF, failures=9).state, "pending")

    def test_too_many_failures_in_a_row_or_a_fatal_one_is_failed(self) -> None:
        down = {"state": State.BACKOFF, "reason": "exited", "tail": "bye"}
        self.assertEqual(
            self.seen(failures=HOPELESS_FAILURES - 1, **down), DroneStatus("d1", "pending", "exited", "bye")
        )
        self.assertEqual(self.seen(failures=HOPELESS_FAILURES, **down), DroneStatus("d1", "failed", "exited", "bye"))
        self.assertEqual(self.seen(failures=0, fatal=True, **down).state, "failed")

    def test_what_was_given_up_is_failed_unless_it_is_to_start_anew(self) -> None:
        given_up = {"state": State.FAILED, "reason": "ended 20 times in a row", "tail": "bye"}
        self.assertEqual(self.seen(**given_up), DroneStatus("d1", "failed", "ended 20 times in a row", "bye"))
        self.assertEqual(self.seen(**given_up, generation=0).state, "pending")

    def test_what_was_added_decides_nothing(self) -> None:
        self.use()
        self.state = self.state.after(Changes(extras=(Extra("e", "webapp", 1, "run", ("x",), False),)))
        self.lines = tuple(wanted_lines(self.state, self.release, self.drone.description))
        self.assertEqual(len(self.lines), 2)
        each = {self.lines[0].id: ready(self.lines[0]), self.lines[1].id: evolve(ready(self.lines[1]), fatal=True)}
        self.assertEqual(status(self.state, self.release, self.drone, View(True, True, each)).state, "ready")

    def test_failures_of_what_is_ending_are_of_an_earlier_attempt(self) -> None:
        for state in (State.DRAINING, State.STOPPING, State.STOPPED):
            self.assertEqual(self.seen(failures=9, fatal=True, state=state).state, "pending")

    def test_every_state_has_words_for_what_is_waited_for(self) -> None:
        for state in State:
            if state is not State.READY:
                self.assertTrue(self.seen(state=state).reason)
        building = self.seen(state=State.BUILDING, reason="building: npm ci", tail="added 12 packages")
        self.assertEqual(building, DroneStatus("d1", "pending", "building: npm ci", "added 12 packages"))
        self.assertIn("20001", self.seen(state=State.STARTING, port=20001).reason)
        self.assertIn("second", self.seen(state=State.STARTING, port=0).reason)

    def test_stopped_on_request_is_failed(self) -> None:
        self.use(Order(self.lines[0].id, "webapp", "v1", stopped=True))
        self.assertEqual(self.seen(state=State.STOPPED).state, "failed")

    def test_of_several_roles_the_worst_counts_and_is_named(self) -> None:
        self.drone = KnownDrone(DroneDescription("d1", "owner"), "h")
        roles = (RoleCommand("http", ("a",), True), RoleCommand("say", ("b",), True))
        self.release = evolve(self.release, roles=roles)
        self.use()
        good, bad = self.lines
        each = {
            line.id: ObservedInstance(line.id, "webapp", "v1", "c" * 40, line.role, State.READY, generation=1)
            for line in self.lines
        }
        each[bad.id] = evolve(each[bad.id], state=State.BACKOFF, failures=HOPELESS_FAILURES, reason="exited")
        found = status(self.state, self.release, self.drone, View(True, True, each))
        self.assertEqual(found, DroneStatus("d1", "failed", "say: exited"))
        self.assertEqual(good.role, "http")
