"""What drones are assigned (design rule 2: properties of the planner)."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.deployd_toml import RELEASE
from deployd.model.desired import Changes, Desired, KnownDrone, Order
from deployd.model.drone import DroneDescription
from deployd.model.extra import Extra
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.model.release import Release, ReleaseState, Selector
from deployd.model.revision import Revision
from deployd.model.role import RoleCommand, RoleSettings, StopRule
from deployd.model.router import ReleaseKey
from deployd.planning.placement import (
    NO_COMMAND,
    assignment,
    chosen,
    concerns,
    is_stopped,
    needs_procfile,
    runs,
    wanted_lines,
)
from tests.planning.states import desired, observed

OBSERVED = {Goal.RUN: State.READY, Goal.DRAIN: State.DRAINING, Goal.STOP: State.STOPPED}


def obeyed(lines: tuple[AssignedInstance, ...], seen: dict[str, ObservedInstance]) -> dict[str, ObservedInstance]:
    """What a drone reports that has done exactly what it was told; orphans run on."""
    orphans = {id: one for id, one in seen.items() if one.state is State.ORPHAN}
    done = {
        line.id: ObservedInstance(
            line.id,
            line.app,
            line.release,
            line.commit,
            line.role,
            OBSERVED[line.goal],
            generation=line.generation,
            deregistered=Revision("registry", 2) if line.goal is Goal.DRAIN else None,
        )
        for line in lines
    }
    return orphans | done


def freed(seen: dict[str, ObservedInstance]) -> set[str]:
    """What may be stopped where no router is asked."""
    return {id for id, one in seen.items() if one.state is State.DRAINING and one.deregistered is not None}


@st.composite
def situations(draw: st.DrawFn) -> tuple[Desired, KnownDrone, dict[str, ObservedInstance]]:
    state = draw(desired().filter(lambda state: state.drones))
    drone = state.drones[draw(st.sampled_from(sorted(state.drones)))]
    return state, drone, draw(observed(state, drone))


class AssignmentProperties(SynchronousTestCase):
    @given(situations())
    def test_doing_what_is_assigned_settles(self, situation: tuple) -> None:
        """Drain, stop, leave out: after at most three rounds nothing changes any more."""
        state, drone, seen = situation
        for _ in range(3):
            seen = obeyed(assignment(state, drone.description, seen, drained=freed(seen)), seen)
        settled = assignment(state, drone.description, seen, drained=freed(seen))
        self.assertEqual(assignment(state, drone.description, obeyed(settled, seen)), settled)
        self.assertNotIn(Goal.DRAIN, {line.goal for line in settled})

    @given(situations())
    def test_settled_it_is_just_what_is_wanted(self, situation: tuple) -> None:
        state, drone, seen = situation
        for _ in range(3):
            seen = obeyed(assignment(state, drone.description, seen, drained=freed(seen)), seen)
        settled = {line.id: line for line in assignment(state, drone.description, seen)}
        wanted = {line.id for release in state.wanted for line in wanted_lines(state, release, drone.description)}
        orphans = {id for id, one in seen.items() if one.state is State.ORPHAN}
        self.assertLessEqual(wanted, settled.keys())
        self.assertLessEqual(settled.keys() - wanted, orphans)

    @given(situations(), st.randoms(use_true_random=False))
    def test_the_order_of_what_comes_in_is_irrelevant(self, situation: tuple, random) -> None:
        state, drone, seen = situation

        def shuffled(mapping: dict) -> dict:
            items = list(mapping.items())
            random.shuffle(items)
            return dict(items)

        other = evolve(
            state,
            drones=shuffled(state.drones),
            releases=shuffled(state.releases),
            orders=shuffled(state.orders),
            extras=shuffled(state.extras),
        )
        self.assertEqual(
            assignment(state, drone.description, seen), assignment(other, drone.description, shuffled(seen))
        )

    @given(situations(), st.booleans())
    def test_never_runs_more_than_is_asked(self, situation: tuple, strange: bool) -> None:
        """RUN only what a wanted release selects here and nobody stopped, each once."""
        state, drone, seen = situation
        lines = assignment(state, drone.description, seen, strange)
        self.assertEqual(len({line.id for line in lines}), len(lines))
        for line in lines:
            if line.goal is Goal.RUN:
                release = state.releases[line.app, int(line.release[1:])]
                self.assertTrue(release.state.wanted)
                self.assertTrue(line.once or release.selector.selects(drone.name, drone.description.labels))
                self.assertFalse(line.id in state.orders and state.orders[line.id].stopped)
                self.assertTrue(line.argv)

    @given(situations())
    def test_of_a_release_nothing_but_its_command_runs_before_that_is_done(self, situation: tuple) -> None:
        state, drone, seen = situation
        for line in assignment(state, drone.description, seen):
            release = state.releases.get((line.app, int(line.release[1:])))
            if line.goal is not Goal.RUN or release is None:
                continue
            self.assertEqual(line.once, release.held_up)
            if line.once:
                self.assertEqual((line.role, release.hook.owner), (RELEASE, drone.owner))

    @given(desired())
    def test_at_most_one_drone_is_told_to_run_the_command_of_a_release(self, state: Desired) -> None:
        told = [
            (line.app, line.release)
            for drone in state.drones.values()
            for line in assignment(state, drone.description, {})
            if line.once
        ]
        self.assertEqual(len(told), len(set(told)))

    @given(situations())
    def test_a_role_has_as_many_lines_as_it_counts_and_each_extra_one(self, situation: tuple) -> None:
        state, drone, _ = situation
        for release in state.wanted:
            lines = [line for line in wanted_lines(state, release, drone.description) if not line.once]
            for role in runs(release, drone.description).roles if lines else ():
                indexes = [line.index for line in lines if line.role == role.role and not line.extra]
                self.assertEqual(indexes, list(range(role.count)))
            extras = [line.extra for line in lines if line.extra]
            self.assertEqual(len(extras), len(set(extras)))
            for line in lines:
                self.assertEqual((line.build, line.config), (release.build, release.config))

    @given(situations(), st.booleans())
    def test_nothing_is_ended_without_a_reason(self, situation: tuple, strange: bool) -> None:
        """What ends is unwanted, ordered to or outdated; of a stranger and of orphans only what was ordered to."""
        state, drone, seen = situation
        wanted = {line.id for release in state.wanted for line in wanted_lines(state, release, drone.description)}
        for line in assignment(state, drone.description, seen, strange):
            if line.goal is Goal.RUN or (line.id in wanted and not is_stopped(state, line.id)):
                continue
            if line.id in wanted or strange or seen[line.id].state is State.ORPHAN:
                self.assertTrue(state.orders[line.id].stopped)

    @given(situations(), st.booleans())
    def test_what_is_wanted_is_told_to_drain_only_to_start_anew(self, situation: tuple, strange: bool) -> None:
        state, drone, seen = situation
        wanted = {line.id: line for release in state.wanted for line in wanted_lines(state, release, drone.description)}
        for line in assignment(state, drone.description, seen, strange):
            if line.goal is not Goal.RUN and line.id in wanted and not is_stopped(state, line.id):
                self.assertEqual((line.goal, line.generation), (Goal.DRAIN, seen[line.id].generation))
                self.assertNotEqual(line.generation, wanted[line.id].generation)

    @given(situations(), st.booleans())
    def test_what_drains_does_so_as_what_it_is(self, situation: tuple, strange: bool) -> None:
        state, drone, seen = situation
        for line in assignment(state, drone.description, seen, strange):
            if line.goal is Goal.DRAIN:
                self.assertEqual(line.generation, seen[line.id].generation)

    @given(situations())
    def test_a_drone_that_is_emptied_runs_nothing_but_a_release_command_to_its_end(self, situation: tuple) -> None:
        state, drone, seen = situation
        ended = [evolve(each, hook=None) for each in state.releases.values()]
        for line in assignment(state.after(Changes(drones=(evolve(drone, draining=True),))), drone.description, seen):
            self.assertTrue(line.goal is not Goal.RUN or line.once)
        state = state.after(Changes(releases=tuple(ended)))
        state = state.after(Changes(drones=(evolve(drone, draining=True),)))
        for _ in range(3):
            lines = assignment(state, drone.description, seen, drained=freed(seen))
            self.assertNotIn(Goal.RUN, {line.goal for line in lines})
            seen = obeyed(lines, seen)
        self.assertLessEqual({one.state for one in seen.values()}, {State.STOPPED, State.ORPHAN})

    @given(situations())
    def test_of_a_release_that_is_loud_what_runs_goes_on_and_nothing_starts(self, situation: tuple) -> None:
        state, drone, seen = situation
        seen = {id: evolve(one, generation=0) for id, one in seen.items()}
        loud = {ReleaseKey(release.app, release.name) for release in state.retiring}
        quiet = {line.id for line in assignment(state, drone.description, seen)}
        for line in assignment(state, drone.description, seen, loud=loud):
            if ReleaseKey(line.app, line.release) in loud:
                self.assertIn(line.id, seen)
                self.assertIn(line.id, quiet)

    @given(situations())
    def test_what_has_or_had_a_row_is_drained_before_it_is_stopped(self, situation: tuple) -> None:
        state, drone, seen = situation
        runs_on = (State.READY, State.REGISTERING, State.STARTING, State.DRAINING)
        for line in assignment(state, drone.description, seen):
            if line.goal is Goal.STOP and line.id in seen:
                self.assertNotIn(seen[line.id].state, runs_on)

    @given(situations())
    def test_what_drained_too_long_is_stopped(self, situation: tuple) -> None:
        state, drone, seen = situation
        lines = assignment(state, drone.description, seen, drained=set(seen))
        self.assertNotIn(Goal.DRAIN, {line.goal for line in lines})


def release(**changes: object) -> Release:
    return evolve(Release("webapp", 1, "c" * 40, ReleaseState.DEPLOYED, 0.0), **changes)


def drone(**changes: object) -> DroneDescription:
    return evolve(DroneDescription("d1", "owner"), **changes)


ROLES = (RoleCommand("http", ("a",), True), RoleCommand("say", ("b",), True))


class RunsTests(SynchronousTestCase):
    def test_a_command_of_its_own_comes_before_the_procfile(self) -> None:
        own = runs(release(roles=ROLES), drone(command=("x", "y"), role="worker"))
        self.assertEqual(own.roles, (RoleCommand("worker", ("x", "y"), False),))

    def test_a_command_of_its_own_is_treated_as_the_release_says_of_its_role(self) -> None:
        patient = RoleSettings(stop=StopRule("INT", 60.0))
        told = RoleCommand("http", (), False, settings=patient)
        own = drone(command=("x",))
        self.assertEqual(runs(release(settings=(told,)), own).roles, (RoleCommand("http", ("x",), False, 1, patient),))
        counted = RoleCommand("http", ("a",), True, 3, patient)
        self.assertEqual(runs(release(roles=(counted,)), own).roles, (RoleCommand("http", ("x",), True, 1, patient),))

    def test_what_was_added_runs_on_the_drones_that_it_is_for(self) -> None:
        known = tuple(KnownDrone(drone(name=name, owner=name, command=("x",)), "h") for name in ("d1", "d2"))
        more = Extra("e", "webapp", 1, "run", ("more", "now"), False, frozenset({"d2"}))
        state = Desired().after(Changes(drones=known, releases=(release(config=7),), extras=(more,)))
        (line,) = assignment(state, known[0].description, {})
        self.assertEqual(line.extra, "")
        added = next(line for line in assignment(state, known[1].description, {}) if line.extra)
        self.assertEqual((added.role, added.argv, added.port, added.config), ("run", ("more", "now"), False, 7))
        self.assertEqual(added.settings, RoleSettings())
        everywhere = state.after(Changes(extras=(evolve(more, drones=frozenset()),)))
        self.assertEqual([len(assignment(everywhere, each.description, {})) for each in known], [2, 2])
        other = drone(name="d2", owner="d2", command=("x",), apps=("other",))
        self.assertEqual(assignment(state, other, {}), ())

    def test_what_was_added_in_a_role_of_the_release_is_treated_as_that(self) -> None:
        patient = RoleSettings(stop=StopRule("INT", 60.0))
        known = KnownDrone(drone(), "h")
        roles = (RoleCommand("worker", ("a",), False, settings=patient),)
        more = Extra("e", "webapp", 1, "worker", ("more",), False)
        state = Desired().after(Changes(drones=(known,), releases=(release(roles=roles),), extras=(more,)))
        self.assertEqual({line.settings for line in assignment(state, known.description, {})}, {patient})

    def test_the_procfile_is_narrowed_by_the_roles_of_the_drone(self) -> None:
        self.assertEqual(runs(release(roles=ROLES), drone()).roles, ROLES)
        self.assertEqual(runs(release(roles=ROLES), drone(roles=("say", "other"))).roles, ROLES[1:])
        self.assertEqual(runs(release(roles=ROLES), drone(roles=("other",))), runs(release(), drone(apps=("x",))))

    def test_neither_is_a_problem_for_the_apps_it_takes(self) -> None:
        self.assertEqual(runs(release(), drone()).problem, NO_COMMAND)
        self.assertEqual(runs(release(), drone(apps=("other",))).problem, "")
        self.assertTrue(needs_procfile("webapp", drone()))
        self.assertFalse(needs_procfile("webapp", drone(command=("x",))))
        self.assertFalse(concerns("webapp", drone(apps=("other",))))

    def test_the_chosen_are_sorted_by_name(self) -> None:
        drones = [KnownDrone(drone(name=name), "h") for name in ("d2", "d3", "d1")]
        named = release(selector=Selector(False, frozenset({"d3", "d1"})))
        self.assertEqual([each.name for each in chosen(named, drones)], ["d1", "d3"])
        drones = [evolve(each, draining=each.name == "d1") for each in drones]
        self.assertEqual([each.name for each in chosen(named, drones)], ["d3"])

    def test_an_order_to_restart_and_a_retry_both_make_a_new_generation(self) -> None:
        known = KnownDrone(drone(command=("x",)), "h")
        state = Desired().after(Changes(drones=(known,), releases=(release(attempt=2),)))
        (line,) = assignment(state, known.description, {})
        self.assertEqual(line.generation, 2)
        state = state.after(Changes(orders=(Order(line.id, "webapp", "v1", restarts=3),)))
        (line,) = assignment(state, known.description, {})
        self.assertEqual((line.generation, line.goal), (5, Goal.RUN))

    def test_a_stop_of_what_does_not_run_is_told_at_once(self) -> None:
        known = KnownDrone(drone(command=("x",)), "h")
        state = Desired().after(Changes(drones=(known,), releases=(release(),)))
        (line,) = assignment(state, known.description, {})
        state = state.after(Changes(orders=(Order(line.id, "webapp", "v1", stopped=True),)))
        (line,) = assignment(state, known.description, {})
        self.assertEqual(line.goal, Goal.STOP)

    def test_what_is_emptied_and_used_again_in_the_middle_goes_on_as_what_it_is(self) -> None:
        known = KnownDrone(drone(command=("x",)), "h")
        state = Desired().after(Changes(drones=(known,), releases=(release(),)))
        (wanted,) = assignment(state, known.description, {})
        seen = obeyed((wanted,), {})
        emptied = state.after(Changes(drones=(evolve(known, draining=True),)))
        self.assertEqual(assignment(emptied, known.description, seen), (evolve(wanted, goal=Goal.DRAIN),))

    def test_what_starts_anew_drains_as_what_it_is_and_then_starts(self) -> None:
        known = KnownDrone(drone(command=("x",)), "h")
        state = Desired().after(Changes(drones=(known,), releases=(release(),)))
        (old,) = assignment(state, known.description, {})
        state = state.after(Changes(orders=(Order(old.id, "webapp", "v1", restarts=1),)))
        seen = obeyed((old,), {})
        (line,) = assignment(state, known.description, seen)
        self.assertEqual((line.goal, line.generation), (Goal.DRAIN, 0))
        seen = obeyed((line,), seen)
        self.assertEqual(assignment(state, known.description, seen), (line,))
        (line,) = assignment(state, known.description, seen, drained=freed(seen))
        self.assertEqual((line.goal, line.generation), (Goal.RUN, 1))

    def test_what_has_no_row_starts_anew_at_once(self) -> None:
        worker = KnownDrone(drone(command=("x",), role="worker"), "h")
        web = KnownDrone(drone(command=("x",)), "h")
        for known, state in ((worker, State.READY), (web, State.STARTING), (web, State.BACKOFF)):
            wanted = Desired().after(Changes(drones=(known,), releases=(release(attempt=1),)))
            (line,) = assignment(wanted, known.description, {})
            seen = {line.id: evolve(obeyed((line,), {})[line.id], generation=0, state=state)}
            self.assertEqual(assignment(wanted, known.description, seen), (line,))
