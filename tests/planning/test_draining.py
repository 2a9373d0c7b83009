"""When what drains may be stopped, and what an emptied drone costs."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.desired import Changes, Desired
from deployd.model.instance import State
from deployd.model.release import ReleaseState
from deployd.model.route import Entry, Route, RouteKey, Setting, Share
from deployd.model.router import ReleaseKey
from deployd.planning.draining import DRAIN_LIMIT, SETTLE, Drain, away_leaving, drained, loss, next_look
from deployd.planning.placement import possible_lines, wanted_lines
from tests.planning.states import desired, observed

NOW = 100.0

times = st.sampled_from([NOW - 40, NOW - DRAIN_LIMIT, NOW - 5, NOW - SETTLE, NOW - 0.5, NOW])


@st.composite
def drains(draw: st.DrawFn) -> list[Drain]:
    return [
        Drain(
            f"http-{n}",
            ReleaseKey("webapp", draw(st.sampled_from(["v1", "v2"]))),
            since=draw(times),
            limit=draw(st.sampled_from([0.0, 10.0, 30.0])),
            freed=draw(st.none() | times),
            passed=draw(st.booleans()),
        )
        for n in range(draw(st.integers(0, 5)))
    ]


settles = st.sampled_from([0.0, SETTLE])


class DrainedProperties(SynchronousTestCase):
    @given(drains(), settles)
    def test_before_its_time_nothing_is_stopped_that_has_work(self, each: list[Drain], settle: float) -> None:
        found = drained(each, NOW, settle)
        for drain in each:
            if drain.id in found and drain.since + drain.limit > NOW:
                self.assertTrue(drain.passed)
                beside = [other for other in each if other.release == drain.release]
                self.assertTrue(all(other.passed or other.since + other.limit <= NOW for other in beside))

    @given(drains(), settles)
    def test_everything_is_drained_once_its_time_is_over(self, each: list[Drain], settle: float) -> None:
        self.assertEqual(drained(each, NOW + 100, settle), {drain.id for drain in each})

    @given(drains(), settles)
    def test_what_is_drained_stays_so(self, each: list[Drain], settle: float) -> None:
        self.assertLessEqual(drained(each, NOW, settle), drained(each, NOW + 1, settle))

    @given(drains(), settles)
    def test_between_two_looks_nothing_changes(self, each: list[Drain], settle: float) -> None:
        following = next_look(each, NOW, settle)
        before = drained(each, NOW, settle)
        if following is None:
            self.assertEqual(drained(each, NOW + 1000, settle), before)
        else:
            self.assertGreater(following, NOW)
            self.assertEqual(drained(each, (NOW + following) / 2, settle), before)

    def test_peers_are_given_a_moment_after_the_row_is_gone(self) -> None:
        one = Drain("http-1", ReleaseKey("webapp", "v1"), NOW, 30.0, freed=NOW, passed=True)
        self.assertEqual(drained([one], NOW, SETTLE), set())
        self.assertEqual(drained([one], NOW + SETTLE, SETTLE), {"http-1"})
        self.assertEqual(drained([one], NOW, 0.0), {"http-1"})

    def test_a_registry_that_is_away_is_waited_for_and_then_only_the_routers(self) -> None:
        one = Drain("http-1", ReleaseKey("webapp", "v1"), NOW, 30.0, freed=None, passed=True)
        self.assertEqual(drained([one], NOW + DRAIN_LIMIT - 1, SETTLE), set())
        self.assertEqual(drained([one], NOW + DRAIN_LIMIT, SETTLE), {"http-1"})
        self.assertEqual(drained([evolve(one, passed=False)], NOW + DRAIN_LIMIT, SETTLE), set())


class AwayProperties(SynchronousTestCase):
    @given(desired(), st.data())
    def test_of_a_drone_that_is_away_just_what_is_not_wanted_is_leaving(self, state: Desired, data) -> None:
        last = {name: data.draw(observed(state, drone)) for name, drone in state.drones.items()}
        found = away_leaving(state, state.drones.values(), last, ())
        for name, drone in state.drones.items():
            wanted = {line.id for each in state.wanted for line in wanted_lines(state, each, drone.description)}
            for id, one in last[name].items():
                ordered = id in state.orders and state.orders[id].stopped
                runs = not one.state.over and one.state is not State.ORPHAN
                self.assertEqual(id in found, ordered or (runs and id not in wanted))

    @given(desired())
    def test_of_one_that_is_emptied_everything_is_leaving_though_it_was_not_met_yet(self, state: Desired) -> None:
        emptied = [evolve(drone, draining=True) for drone in state.drones.values()]
        state = state.after(Changes(drones=tuple(emptied)))
        found = away_leaving(state, emptied, {}, ())
        for drone in emptied:
            for release in state.wanted:
                self.assertLessEqual({line.id for line in possible_lines(state, release, drone.description)}, found)


class LossProperties(SynchronousTestCase):
    @given(desired(), st.data())
    def test_a_route_loses_what_no_other_used_drone_has_ready(self, state: Desired, data) -> None:
        state = state.after(
            Changes(
                drones=tuple(evolve(each, draining=data.draw(st.booleans())) for each in state.drones.values()),
                releases=tuple(
                    evolve(each, state=ReleaseState.DEPLOYED, hook=None) for each in state.releases.values()
                ),
                routes=tuple(
                    Route(RouteKey(f"{n}.example"), (Entry(1, Setting(app, "http", (Share(f"v{n}", 1),)), 0.0, "me"),))
                    for n, app in enumerate(data.draw(st.lists(st.sampled_from(["webapp", "team/webapp"]), max_size=3)))
                ),
            )
        )
        seen = {name: data.draw(observed(state, drone)) for name, drone in state.drones.items()}
        routed = {(r.setting.app, name) for r in state.routes.values() for name in r.setting.weighted}
        for name in state.drones:

            def ready(other: str) -> set:
                return {(o.app, o.release, o.role) for o in seen[other].values() if o.state is State.READY}

            elsewhere = set().union(*(ready(o) for o in seen if o != name and not state.drones[o].draining))
            lines = [line for r in state.wanted for line in possible_lines(state, r, state.drones[name].description)]
            beside = {line.id for line in lines if line.extra and not line.port}
            there = {
                (o.app, o.release, o.role) for o in seen[name].values() if o.state is State.READY and o.id not in beside
            }
            lost = {each for each in there - elsewhere if each[:2] in routed}
            found = loss(state, name, seen)
            self.assertEqual(found is not None, bool(lost))
            if found is not None:
                self.assertIn((found.release.app, found.release.release, found.role), lost)
