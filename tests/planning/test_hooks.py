"""The release command: once, on one drone, before everything else."""

from __future__ import annotations

from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.deployd_toml import RELEASE
from deployd.model.desired import Changes, Desired, KnownDrone, Order
from deployd.model.drone import DroneDescription
from deployd.model.instance import AssignedInstance, ObservedInstance, State
from deployd.model.release import DroneStatus, Hook, Need, Release, ReleaseState, Selector
from deployd.model.role import RoleCommand
from deployd.planning.hooks import Chosen, Done, Failed, decided, runner
from deployd.planning.placement import assignment, wanted_lines
from deployd.planning.rollout import Verdict, judgement, status
from deployd.planning.view import HOPELESS_FAILURES, View

COMMAND = RoleCommand(RELEASE, ("migrate",), False)
ROLES = (RoleCommand("http", ("a",), True),)
NAMES = ("d1", "d2", "d3")


def known(name: str, **changes: object) -> KnownDrone:
    return KnownDrone(evolve(DroneDescription(name, f"owner of {name}"), **changes), "h")


def held_up(drone: str = "", **changes: object) -> Release:
    hook = Hook(COMMAND, drone, f"owner of {drone}" if drone else "")
    return evolve(Release("webapp", 1, "c" * 40, ReleaseState.DEPLOYING, 0.0, roles=ROLES, hook=hook), **changes)


def state(release: Release, *drones: KnownDrone) -> Desired:
    return Desired().after(Changes(drones=drones, releases=(release,)))


def views(*names: str) -> dict[str, View]:
    return {name: View(True, True) for name in names}


class ChoiceTests(SynchronousTestCase):
    def choice(self, *drones: KnownDrone, there: tuple[str, ...] = NAMES, **changes: object) -> object:
        release = held_up(**changes)
        found = decided(state(release, *drones), release, views(*there), lost=False)
        return found.drone.name if isinstance(found, Chosen) else found

    def test_it_is_the_first_that_is_there(self) -> None:
        drones = [known(name) for name in NAMES]
        self.assertEqual(self.choice(*reversed(drones)), "d1")
        self.assertEqual(self.choice(*drones, there=("d2", "d3")), "d2")
        self.assertEqual(self.choice(*drones, selector=Selector(False, frozenset({"d3"}))), "d3")

    def test_one_that_runs_procfiles_comes_before_one_with_a_command_of_its_own(self) -> None:
        own, idle, plain = known("d1", command=("x",)), known("d2", roles=("other",)), known("d3")
        self.assertEqual(self.choice(own, idle, plain), "d3")
        self.assertEqual(self.choice(own, idle), "d1")
        self.assertEqual(self.choice(idle), "d2")

    def test_none_is_chosen_before_one_is_there(self) -> None:
        self.assertIsNone(self.choice(known("d1"), there=()))
        self.assertIsNone(self.choice(known("d1"), evolve(known("d2"), draining=True), there=("d2",)))

    def test_where_no_drone_takes_the_app_the_deploy_fails(self) -> None:
        found = self.choice(known("d1", apps=("other",)))
        assert isinstance(found, Failed)
        self.assertIn("no drone of it takes the app", found.reason)


class StandingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.drones = (known("d1"), known("d2"))
        self.release = held_up("d1", attempt=3)
        self.desired = state(self.release, *self.drones)
        (self.line,) = assignment(self.desired, self.drones[0].description, {})

    def seen(self, state: State, **changes: object) -> dict[str, View]:
        one = ObservedInstance(self.line.id, "webapp", "v1", "c" * 40, RELEASE, state, generation=3)
        return views("d2") | {"d1": View(True, True, {one.id: evolve(one, **changes)})}

    def decided(self, seen: dict[str, View], lost: bool = False) -> object:
        return decided(self.desired, self.release, seen, lost)

    def rows(self, seen: dict[str, View]) -> list[DroneStatus]:
        return [status(self.desired, self.release, each, seen.get(each.name, View())) for each in self.drones]

    def test_its_line_says_that_it_runs_once(self) -> None:
        self.assertEqual((self.line.role, self.line.argv, self.line.port), (RELEASE, ("migrate",), False))
        self.assertEqual((self.line.once, self.line.generation), (True, 3))

    def test_done_in_this_attempt_is_done(self) -> None:
        self.assertEqual(self.decided(self.seen(State.DONE)), Done("d1"))
        self.assertIsNone(self.decided(self.seen(State.DONE, generation=2)))

    def test_failed_fails_the_deploy_with_its_last_output(self) -> None:
        for state, fatal in ((State.FAILED, False), (State.BACKOFF, True)):
            found = self.decided(self.seen(state, fatal=fatal, reason="exited with code 3", tail="no table\n"))
            assert isinstance(found, Failed)
            self.assertEqual(found.reason, "the release command failed on d1")
            row = DroneStatus("d1", "failed", "the release command failed: exited with code 3", "no table\n")
            self.assertEqual(found.row, row)
        self.assertIsNone(self.decided(self.seen(State.FAILED, generation=2)))
        self.assertIsInstance(self.decided(self.seen(State.BACKOFF, failures=HOPELESS_FAILURES)), Failed)

    def test_stopped_by_somebody_is_failed(self) -> None:
        stop = Order(self.line.id, "webapp", "v1", stopped=True)
        self.desired = self.desired.after(Changes(orders=(stop,)))
        self.assertIsInstance(self.decided(self.seen(State.STARTING)), Failed)

    def test_lost_is_failed_only_while_the_drone_is_away(self) -> None:
        self.assertIsNone(self.decided(views("d2")))
        self.assertIsNone(self.decided(self.seen(State.STARTING), lost=True))
        found = self.decided(views("d2"), lost=True)
        assert isinstance(found, Failed)
        self.assertEqual(found.reason, "d1 was lost while it ran the release command; whether it finished is unknown")

    def test_forgotten_is_lost_though_another_gets_the_name(self) -> None:
        self.desired = self.desired.after(Changes(forgotten=("d1",)))
        self.assertIsInstance(self.decided(views("d2")), Failed)
        again = known("d1", owner="another")
        self.desired = self.desired.after(Changes(drones=(again,)))
        self.assertIsNone(runner(self.desired, self.release))
        self.assertIsInstance(self.decided(views("d1", "d2")), Failed)
        self.assertEqual(assignment(self.desired, again.description, {}), ())

    def test_rows_say_what_is_waited_for(self) -> None:
        waits = DroneStatus("d2", "pending", "waits for the release command on d1")
        self.assertEqual(
            self.rows(self.seen(State.STARTING, tail="table 1\n")),
            [DroneStatus("d1", "pending", "runs the release command", "table 1\n"), waits],
        )
        self.assertEqual(
            self.rows(self.seen(State.BUILDING, reason="building: npm ci"))[0].reason,
            "release command: building: npm ci",
        )
        self.assertEqual([row.state for row in self.rows({})], ["away", "away"])

    def test_before_it_is_done_there_is_no_verdict_but_on_what_could_never_be(self) -> None:
        ready, failed = DroneStatus("d1", "ready"), DroneStatus("d2", "failed")
        none = held_up()
        self.assertIs(judgement(none, [ready]), Verdict.WAITING)
        self.assertIs(judgement(none, [ready, failed]), Verdict.IMPOSSIBLE)
        self.assertIs(judgement(self.release, [ready, failed]), Verdict.WAITING)
        done = evolve(self.release, hook=evolve(self.release.hook, done=True), need=Need("1"))
        self.assertIs(judgement(done, [ready, failed]), Verdict.MET)

    def test_one_that_is_emptied_runs_it_to_its_end(self) -> None:
        self.desired = self.desired.after(Changes(drones=(evolve(self.drones[0], draining=True),)))
        (line,) = wanted_lines(self.desired, self.release, self.drones[0].description)
        self.assertTrue(line.once)
        self.assertEqual(self.decided(self.seen(State.DONE)), Done("d1"))


@define
class World:
    """Drones that obey what a hub tells them, and save what they have begun; ``runs`` has every run that began.

    A hub that is killed has lost what it saw, not what it saved.
    """

    desired: Desired
    there: set[str] = field(factory=set)
    lost: bool = False
    runs: list[tuple[str, int]] = field(factory=list)
    begun: dict[str, ObservedInstance] = field(factory=dict)

    @property
    def release(self) -> Release:
        return self.desired.releases["webapp", 1]

    def tell(self) -> None:
        for name in self.there:
            for line in assignment(self.desired, self.desired.drones[name].description, {}):
                assert line.once == self.release.held_up
                if line.once:
                    self._begin(name, line)

    def decide(self) -> None:
        if not self.release.held_up or not self.release.state.wanted:
            return
        seen = {name: View(True, True, {one.id: one} if (one := self.begun.get(name)) else {}) for name in self.there}
        hook = self.release.hook
        assert hook is not None
        found = decided(self.desired, self.release, seen, self.lost)
        if isinstance(found, Chosen):
            self._save(hook=evolve(hook, drone=found.drone.name, owner=found.drone.owner))
        elif isinstance(found, Done):
            self._save(hook=evolve(hook, done=True))
        elif found is not None:
            self._save(state=ReleaseState.FAILED)

    def end(self, name: str, state: State) -> None:
        if name in self.begun:
            self.begun[name] = evolve(self.begun[name], state=state)

    def deploy(self) -> None:
        if not self.release.state.wanted:
            again = self.release.attempt + 1
            self._save(state=ReleaseState.DEPLOYING, attempt=again, hook=Hook(COMMAND))
            self.lost = False

    def _begin(self, name: str, line: AssignedInstance) -> None:
        one = self.begun.get(name)
        if one is None or one.generation != line.generation:
            self.runs.append((name, line.generation))
            self.begun[name] = ObservedInstance(
                line.id, line.app, line.release, line.commit, RELEASE, State.STARTING, generation=line.generation
            )

    def _save(self, **changes: object) -> None:
        self.desired = self.desired.after(Changes(releases=(evolve(self.release, **changes),)))


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["come", "go", "tell", "decide", "done", "fail", "lose", "return", "deploy"]),
        st.sampled_from(NAMES),
    ),
    max_size=60,
)


class HistoryProperties(SynchronousTestCase):
    @given(DEEDS)
    def test_in_one_attempt_it_begins_once_whatever_comes_and_goes(self, deeds: list[tuple[str, str]]) -> None:
        world = World(state(held_up(), *(known(name) for name in NAMES)))
        for deed, name in deeds:
            if deed == "come":
                world.there.add(name)
            elif deed == "go":
                world.there.discard(name)
            elif deed in ("lose", "return"):
                world.lost = deed == "lose"
            elif deed in ("done", "fail"):
                world.end(name, State.DONE if deed == "done" else State.FAILED)
            else:
                getattr(world, deed)()
            attempts = [attempt for _, attempt in world.runs]
            self.assertEqual(len(attempts), len(set(attempts)))
            if not world.release.held_up:
                self.assertIn(world.release.attempt, attempts)
