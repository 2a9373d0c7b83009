"""From what a drone has to what it should have."""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.instance import AssignedInstance, Goal, State
from deployd.planning.reconcile import (
    Adopt,
    CheckoutKey,
    Drain,
    Forget,
    Known,
    Orphan,
    RemoveCheckout,
    Restart,
    Start,
    Step,
    Stop,
    steps,
)

HUB, OTHER = "this hub", "another hub"


def line(number: int = 1, goal: Goal = Goal.RUN, generation: int = 0, release: str = "v1") -> AssignedInstance:
    return AssignedInstance(
        f"http-{number}", "webapp", release, release * 20, "http", ("serve",), True, goal, generation
    )


@st.composite
def known_instances(draw: st.DrawFn) -> list[Known]:
    numbers = draw(st.sets(st.integers(1, 6)))
    return [draw(known_instance(number)) for number in sorted(numbers)]


@st.composite
def known_instance(draw: st.DrawFn, number: int) -> Known:
    doing = draw(st.sampled_from([None, *Goal]))
    states = {
        None: [State.WAITING],
        Goal.RUN: [State.WAITING, State.STARTING, State.READY, State.BACKOFF],
        Goal.DRAIN: [State.DRAINING, State.STOPPED],
        Goal.STOP: [State.STOPPING, State.STOPPED],
    }
    had = line(number, draw(st.sampled_from(Goal)), draw(st.integers(0, 2)), draw(st.sampled_from(["v1", "v2"])))
    epoch = draw(st.sampled_from([HUB, OTHER]))
    return Known(had, epoch, doing, draw(st.sampled_from(states[doing])), draw(st.booleans()) and epoch == OTHER)


@st.composite
def assignments(draw: st.DrawFn) -> list[AssignedInstance] | None:
    if draw(st.integers(0, 9)) == 0:
        return None
    return [
        line(number, draw(st.sampled_from(Goal)), draw(st.integers(0, 2)), draw(st.sampled_from(["v1", "v2"])))
        for number in sorted(draw(st.sets(st.integers(1, 6))))
    ]


checkout_keys = st.sets(st.sampled_from(["v1", "v2", "v3"]).map(lambda name: CheckoutKey("webapp", name, name * 20)))


class Drone:
    """Does what steps say, at once; ``rounds`` is how often it had to ask."""

    def __init__(self, known: Collection[Known], checkouts: Collection[CheckoutKey]) -> None:
        self.known = {each.line.id: each for each in known}
        self.checkouts = set(checkouts)
        self.rounds = 0

    def settle(self, lines: Collection[AssignedInstance] | None) -> list[Step]:
        done: list[Step] = []
        # What is stopping ends by itself, and may then have another step before it.
        while (todo := steps(HUB, lines, list(self.known.values()), self.checkouts)) or self.is_stopping():
            self.rounds += 1
            assert self.rounds < 10, todo
            for step in todo:
                self.apply(step)
            done.extend(todo)
            self.finish()
        return done

    def apply(self, step: Step) -> None:
        match step:
            case Start(wanted) | Restart(wanted):
                self.told(wanted, Goal.RUN, State.READY)
                self.checkouts.add(CheckoutKey.of(wanted))
            case Drain(wanted):
                self.told(wanted, Goal.DRAIN, State.DRAINING)
            case Stop(wanted):
                self.told(wanted, Goal.STOP, State.STOPPING)
            case Adopt(wanted):
                self.known[wanted.id] = evolve(self.known[wanted.id], epoch=HUB, orphan=False)
            case Orphan(id):
                self.known[id] = evolve(self.known[id], orphan=True)
            case Forget(id):
                assert self.known.pop(id).state is State.STOPPED
            case RemoveCheckout(key):
                self.checkouts.remove(key)

    def told(self, wanted: AssignedInstance, goal: Goal, state: State) -> None:
        before = self.known.get(wanted.id) or Known(wanted, HUB, None, State.WAITING)
        self.known[wanted.id] = evolve(before, line=wanted, doing=goal, state=state)

    def is_stopping(self) -> bool:
        return any(each.state is State.STOPPING for each in self.known.values())

    def finish(self) -> None:
        for id, each in self.known.items():
            if each.state is State.STOPPING:
                self.known[id] = evolve(each, state=State.STOPPED)


class ReconcileProperties(SynchronousTestCase):
    @given(known_instances(), assignments(), checkout_keys)
    def test_applying_the_steps_reaches_what_is_desired(
        self, known: list[Known], lines: list[AssignedInstance] | None, checkouts: set[CheckoutKey]
    ) -> None:
        drone = Drone(known, checkouts)
        drone.settle(lines)
        for wanted in lines or ():
            has = drone.known[wanted.id]
            self.assertIn(has.doing, {wanted.goal, Goal.STOP} if wanted.goal is Goal.DRAIN else {wanted.goal})
            self.assertEqual(has.epoch, HUB)
            self.assertFalse(has.orphan)
            if wanted.goal is Goal.RUN:
                self.assertEqual(evolve(has.line, goal=Goal.RUN), wanted)
        wanted_ids = {wanted.id for wanted in lines or ()}
        left = [each for id, each in drone.known.items() if id not in wanted_ids]
        self.assertTrue(lines is None or all(each.epoch != HUB and each.orphan for each in left), left)

    @given(known_instances(), assignments())
    def test_a_hub_of_another_epoch_ends_only_what_it_names(
        self, known: list[Known], lines: list[AssignedInstance] | None
    ) -> None:
        strange = {each.line.id for each in known if each.epoch != HUB and each.doing is Goal.RUN}
        drone = Drone(known, ())
        drone.settle(lines)
        for id in strange - {wanted.id for wanted in lines or ()}:
            self.assertEqual((drone.known[id].doing, drone.known[id].orphan), (Goal.RUN, True))

    @given(known_instances(), assignments(), checkout_keys)
    def test_a_settled_state_yields_no_steps(
        self, known: list[Known], lines: list[AssignedInstance] | None, checkouts: set[CheckoutKey]
    ) -> None:
        drone = Drone(known, checkouts)
        drone.settle(lines)
        self.assertEqual(steps(HUB, lines, list(drone.known.values()), drone.checkouts), ())

    @given(known_instances(), assignments(), checkout_keys, st.randoms())
    def test_the_order_of_the_input_is_irrelevant(
        self, known: list[Known], lines: list[AssignedInstance] | None, checkouts: set[CheckoutKey], random: object
    ) -> None:
        shuffled_known, shuffled_lines = list(known), None if lines is None else list(lines)
        random.shuffle(shuffled_known)  # type: ignore[attr-defined]
        if shuffled_lines:
            random.shuffle(shuffled_lines)  # type: ignore[attr-defined]
        self.assertEqual(
            steps(HUB, lines, known, checkouts), steps(HUB, shuffled_lines, shuffled_known, sorted(checkouts))
        )

    @given(known_instances(), assignments(), checkout_keys)
    def test_nothing_is_told_more_than_once_and_no_needed_checkout_goes(
        self, known: list[Known], lines: list[AssignedInstance] | None, checkouts: set[CheckoutKey]
    ) -> None:
        todo = steps(HUB, lines, known, checkouts)
        told = [step.line.id for step in todo if isinstance(step, Start | Restart | Drain | Stop)]
        self.assertEqual(len(told), len(set(told)))
        drone = Drone(known, checkouts)
        drone.settle(lines)
        needed = {CheckoutKey.of(wanted) for wanted in lines or ()}
        needed |= {CheckoutKey.of(each.line) for each in drone.known.values()}
        self.assertTrue(checkouts & needed <= drone.checkouts <= needed)


class ReconcileTests(SynchronousTestCase):
    def running(self, number: int = 1, **changes: object) -> Known:
        return evolve(Known(line(number), HUB, Goal.RUN, State.READY), **changes)  # type: ignore[misc]

    def test_starts_what_is_new(self) -> None:
        self.assertEqual(steps(HUB, [line()], []), (Start(line()),))

    def test_leaves_what_runs_as_wanted_alone(self) -> None:
        self.assertEqual(steps(HUB, [line()], [self.running()]), ())

    def test_restarts_what_runs_in_an_older_generation(self) -> None:
        self.assertEqual(steps(HUB, [line(generation=1)], [self.running()]), (Restart(line(generation=1)),))

    def test_restarts_what_runs_another_command(self) -> None:
        changed = evolve(line(), argv=("other",))
        self.assertEqual(steps(HUB, [changed], [self.running()]), (Restart(changed),))

    def test_what_was_drained_goes_on_or_starts_anew(self) -> None:
        drained = self.running(line=line(goal=Goal.DRAIN), doing=Goal.DRAIN, state=State.DRAINING)
        self.assertEqual(steps(HUB, [line()], [drained]), (Start(line()),))
        self.assertEqual(steps(HUB, [line(generation=1)], [drained]), (Restart(line(generation=1)),))
        stopping = self.running(doing=Goal.STOP, state=State.STOPPING)
        self.assertEqual(steps(HUB, [line(generation=1)], [stopping]), (Start(line(generation=1)),))

    def test_stops_and_then_forgets_what_its_own_hub_has_dropped(self) -> None:
        self.assertEqual(steps(HUB, [], [self.running()]), (Stop(line()),))
        stopped = self.running(doing=Goal.STOP, state=State.STOPPED)
        self.assertEqual(steps(HUB, [], [stopped]), (Forget("http-1"),))

    def test_keeps_what_is_stopped_by_command_until_it_is_dropped(self) -> None:
        stopped = self.running(doing=Goal.STOP, state=State.STOPPED)
        self.assertEqual(steps(HUB, [line(goal=Goal.STOP)], [stopped]), ())

    def test_stops_nothing_for_a_hub_that_has_assigned_nothing_yet(self) -> None:
        self.assertEqual(steps(HUB, None, [self.running(), self.running(2, epoch=OTHER)]), (Orphan("http-2"),))

    def test_ends_an_orphan_that_the_hub_says_to_stop(self) -> None:
        orphan = self.running(epoch=OTHER, orphan=True)
        wanted = line(goal=Goal.STOP)
        self.assertEqual(steps(HUB, [wanted], [orphan]), (Adopt(wanted), Stop(wanted)))

    def test_starts_what_the_journal_has_even_of_an_unknown_hub(self) -> None:
        before = Known(line(), OTHER, None, State.WAITING)
        self.assertEqual(steps(HUB, None, [before]), (Orphan("http-1"), Start(line())))

    def test_removes_a_checkout_with_its_last_instance(self) -> None:
        key = CheckoutKey.of(line())
        stopped = self.running(doing=Goal.STOP, state=State.STOPPED)
        self.assertEqual(steps(HUB, [], [stopped], [key]), (Forget("http-1"), RemoveCheckout(key)))
        self.assertEqual(steps(HUB, [line(2)], [stopped], [key]), (Forget("http-1"), Start(line(2))))
