"""Days of a drone in which anything may happen at any moment, and what is true all the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from attrs import evolve
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, execute

from deployd.drone.instances import Instances
from deployd.drone.journal import Journal
from deployd.drone.life import Found, found
from deployd.drone.saving import Saving
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance
from deployd.model.revision import Revision
from deployd.model.role import RoleSettings
from deployd.planning.reconcile import CheckoutKey
from deployd.testing.keeper import FakeProcess
from tests.drone.house import House, line

HTTP, SAY, WORKER = line(), evolve(line("say"), settings=RoleSettings(socket=True)), line("worker", port=False)
ONCE = evolve(line("release", port=False), once=True)
IDS = st.sampled_from([each.id for each in (HTTP, SAY, WORKER, ONCE)])


class Day(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(mkdtemp())
        self.lines = {each.id: each for each in (HTTP, SAY, WORKER, ONCE)}
        self.number = 0
        self.lives: list[Instances] = []
        self.starts: list[tuple[str, int]] = []
        self.doubles: list[FakeProcess] = []
        self.pids: dict[str, list[int]] = {}
        self.unsaved: dict[str, int] = {}
        self.house = House(self.directory)
        self.begin()
        Deferred.fromCoroutine(self.instances.meet("e"))
        self.house.reactor.advance(0)
        self.assign()

    def begin(self) -> None:
        self.journal = Journal(self.directory / "journal.sqlite")
        to_journal: Any = lambda function, *arguments: execute(function, *arguments)  # noqa: E731
        saving = Saving(self.house.reactor, self.journal, to_journal)
        self.house.means = evolve(self.house.means, save=saving.save)
        started = self.house.keeper.on_start
        self.house.keeper.on_start = lambda process: (self.begins(process), started(process))[0]

        async def forget(key: CheckoutKey) -> None:
            pass

        self.instances = Instances(
            self.house.means,
            saving,
            self.house.checkouts,  # type: ignore[arg-type]
            forget,
            lambda: None,
        )
        self.lives.append(self.instances)
        self.instances.recall(self.journal.read())

    def begins(self, process: FakeProcess) -> None:
        id = process.env["PROCESS_ID"]
        self.doubles += [each for each in self.running(id) if each is not process]
        begun = {entry.line.id: entry.life.begun for entry in self.journal.read().entries}
        self.starts.append((id, begun.get(id, -1)))
        self.pids.setdefault(id, []).append(process.pid)

    def assign(self) -> None:
        self.number += 1
        Deferred.fromCoroutine(self.instances.take(Revision("e", self.number), tuple(self.lines.values())))

    def running(self, id: str) -> list[FakeProcess]:
        return [process for process in self.house.keeper.running if process.env["PROCESS_ID"] == id]

    def seen(self) -> dict[str, ObservedInstance]:
        return {seen.id: seen for seen in self.instances.observed()}

    # What may happen.

    @rule(id=IDS, goal=st.sampled_from(Goal))
    def is_wanted_otherwise(self, id: str, goal: Goal) -> None:
        self.lines[id] = evolve(self.lines[id], goal=goal)
        self.assign()

    @rule(id=IDS)
    def should_start_anew(self, id: str) -> None:
        was = self.lines[id]
        self.lines[id] = evolve(was, goal=Goal.RUN, generation=was.generation + 1)
        self.assign()

    @rule(id=IDS, code=st.sampled_from([0, 1]))
    def ends_by_itself(self, id: str, code: int) -> None:
        for process in self.running(id):
            process.exit(code)

    @rule(steps=st.integers(0, 60))
    def time_passes(self, steps: int) -> None:
        self.house.pass_time(steps * 0.05)

    @rule()
    def a_long_time_passes(self) -> None:
        self.house.pass_time(70, step=0.5)

    @rule()
    def the_registry_goes(self) -> None:
        self.house.rows.disconnect()

    @rule()
    def the_registry_comes(self) -> None:
        self.house.rows.connect()

    @rule()
    def the_keeper_is_slow(self) -> None:
        if self.house.keeper.held_back is None:
            self.house.keeper.held_back = []

    @rule()
    def the_keeper_goes_on(self) -> None:
        self.house.keeper.release()

    @precondition(lambda self: self.house.keeper.held_back is None)
    @rule()
    def the_keeper_dies(self) -> None:
        self.house.keeper.die()

    @rule(steps=st.integers(0, 5), reboots=st.booleans())
    def the_drone_is_killed(self, steps: int, reboots: bool) -> None:
        keeper = self.house.keeper
        self.house.close()
        entries = self.journal.read().entries
        self.journal.close()
        keeper.next_life()
        held = {each.id: each for each in keeper.held()}
        known = {entry.line.id: entry.life.pid for entry in entries}
        for id, pids in self.pids.items():
            later = pids[pids.index(known[id]) + 1 :] if known.get(id) in pids else pids
            self.unsaved[id] = self.unsaved.get(id, 0) + len(later)
        self.pids.clear()
        if reboots:
            for process in keeper.running:
                process.exit(signal=9)
            keeper.die()
        connected = self.house.rows.connected
        stood = {
            entry.line.id
            for entry in entries
            if entry.line.goal is Goal.RUN
            and entry.life.passed
            and not reboots
            and found(entry.line, entry.life, held.get(entry.line.id)) is Found.LIVING
        } & set(self.house.rows.table)
        self.house = House(self.directory, self.house)
        self.house.pass_time(steps * 1.0, step=1)
        self.begin()
        self.house.rows.startService()
        if not connected:
            self.house.rows.disconnect()
        for table in self.house.rows.tables:
            assert stood <= table, "the row of a process that goes on is not away for a moment"

    # What is true.

    @invariant()
    def nothing_runs_twice(self) -> None:
        assert self.doubles == []

    @invariant()
    def what_runs_once_is_started_once(self) -> None:
        begun = [start for start in self.starts if start[0] == ONCE.id]
        assert len(begun) == len(set(begun))

    @invariant()
    def what_is_ready_runs_and_is_in_the_table(self) -> None:
        for id, seen in self.seen().items():
            if seen.state.value == "ready":
                assert [process.pid for process in self.running(id)] == [seen.pid]
                assert not seen.port or not self.house.rows.connected or id in self.house.rows.table

    @invariant()
    def restarts_are_counted(self) -> None:
        for id, seen in self.seen().items():
            starts = sum(start[0] == id for start in self.starts)
            least = max(0, starts - 1 - self.unsaved.get(id, 0))
            assert least <= seen.restarts <= max(0, starts - 1), (id, starts, seen)

    def teardown(self) -> None:
        """Left in peace, all is as it was asked for."""
        self.house.keeper.release()
        self.house.rows.connect()
        self.house.pass_time(150, step=0.5)
        for assigned in self.lines.values():
            self.check(assigned, self.seen()[assigned.id])
        for instances in self.lives:
            instances.leave_all()
        self.house.close()
        self.journal.close()

    def check(self, assigned: AssignedInstance, seen: ObservedInstance) -> None:
        state, ran = seen.state.value, len(self.running(assigned.id))
        if assigned.goal is Goal.RUN and not assigned.once:
            assert (state, seen.generation, ran) == ("ready", assigned.generation, 1)
        elif assigned.goal is Goal.RUN:
            assert state in ("starting", "done", "failed"), seen
            assert ran == (state == "starting")
        elif assigned.goal is Goal.STOP:
            assert (state, ran) == ("stopped", 0)
        else:
            assert (state, ran) in (("draining", 1), ("stopped", 0))
        assert (assigned.id in self.house.rows.table) == (state == "ready" and assigned.port)


DayTests = Day.TestCase
# Days are long, and shrinking them takes minutes: the steps of one that fails are few enough to read.
DayTests.settings = settings(
    max_examples=16,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
)
