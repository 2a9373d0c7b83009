"""All instances of a drone: assignments, restarts of the drone, hubs that come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.instances import STOP_LIMIT, Instances
from deployd.drone.journal import Journal
from deployd.drone.life import Life
from deployd.drone.saving import Saving
from deployd.errors import Refused
from deployd.model.instance import AssignedInstance, Goal
from deployd.model.revision import Revision
from deployd.model.role import RoleSettings
from deployd.planning.reconcile import CheckoutKey
from tests.drone.house import COMMIT, TERM, House, line


class InstancesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.journal = Journal(self.directory / "journal.sqlite")
        self.addCleanup(lambda: self.journal.close())
        self.forgotten: list[CheckoutKey] = []
        self.house = House(self.directory)
        self.addCleanup(lambda: self.house.close())
        self.instances = self.begin()

    def begin(self) -> Instances:
        house = self.house
        to_journal: Any = lambda function, *arguments: execute(function, *arguments)  # noqa: E731
        # At once, where the real one waits for the reactor's next turn.
        save: Any = lambda id, life: execute(self.journal.save, {id: life})  # noqa: E731
        house.means = evolve(house.means, save=save)

        async def forget(key: CheckoutKey) -> None:
            self.forgotten.append(key)

        self.addCleanup(lambda: instances.leave_all())
        saving = Saving(house.reactor, self.journal, to_journal)
        instances = Instances(house.means, saving, house.checkouts, forget, lambda: None)  # type: ignore[arg-type]
        instances.recall(self.journal.read())
        return instances

    def kill_the_drone(self) -> None:
        """kill -9: the apps run on, nothing is said; the next life has only the journal, and its keeper."""
        self.house.close()
        self.journal.close()
        self.house.keeper.next_life()

    def again(self) -> Journal:
        return Journal(self.directory / "journal.sqlite")

    def next_house(self) -> House:
        return House(self.directory, self.house)

    def start_the_drone(self) -> None:
        self.journal = self.again()
        self.house = self.next_house()
        self.instances = self.begin()
        self.house.rows.startService()
        self.house.reactor.advance(0)

    def kill_and_restart_the_drone(self) -> None:
        self.kill_the_drone()
        self.start_the_drone()

    def reboot(self) -> None:
        """Everything is gone but what is on disk."""
        self.kill_the_drone()
        for process in self.house.keeper.running:
            process.exit(signal=9)
        self.house.keeper.die()
        self.start_the_drone()

    def join(self, epoch: str = "e1") -> None:
        self.successResultOf(Deferred.fromCoroutine(self.instances.meet(epoch)))

    def assign(self, number: int, *lines: AssignedInstance, epoch: str = "e1") -> None:
        self.successResultOf(Deferred.fromCoroutine(self.instances.take(Revision(epoch, number), lines)))
        self.house.reactor.advance(0)

    def states(self) -> dict[str, str]:
        return {seen.id: seen.state.value for seen in self.instances.observed()}


class AssignmentTests(InstancesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_brings_up_what_is_assigned(self) -> None:
        self.assign(1, line(), line("say"))
        self.assertEqual(self.states(), {"http-v1": "ready", "say-v1": "ready"})

    def test_saves_an_assignment_before_it_acknowledges_or_follows_it(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.instances.take(Revision("e1", 1), (line(),))))
        self.assertEqual(self.journal.read().revision, Revision("e1", 1))
        self.assertEqual(self.house.keeper.processes, [])

    def test_refuses_an_assignment_that_cannot_be_saved_and_goes_on(self) -> None:
        self.assign(1, line())
        self.journal.close()
        self.failureResultOf(Deferred.fromCoroutine(self.instances.take(Revision("e1", 2), ())), Refused)
        self.house.reactor.advance(0)
        self.assertEqual((self.states(), self.instances.revision.number), ({"http-v1": "ready"}, 1))

    def test_lets_an_older_assignment_pass(self) -> None:
        self.assign(2, line())
        self.assign(1)
        self.assertEqual((self.states(), self.instances.revision.number), ({"http-v1": "ready"}, 2))

    def test_refuses_and_does_not_save_an_assignment_of_a_hub_that_it_has_not_met(self) -> None:
        self.assign(1, line())
        taking = Deferred.fromCoroutine(self.instances.take(Revision("e2", 9), ()))
        failure = self.failureResultOf(taking, Refused)
        self.assertEqual(str(failure.value), "an assignment of another hub; join again")
        self.assertEqual(self.journal.read().revision, Revision("e1", 1))

    def test_deletes_a_checkout_whose_release_went_while_it_was_made(self) -> None:
        self.house.checkouts.held = Deferred()
        self.assign(1, line())
        self.assign(2, line(goal=Goal.STOP))
        self.assign(3)
        key = CheckoutKey("webapp", "v1", COMMIT)
        self.house.checkouts.there.add(key)
        self.instances.look_again()
        self.house.reactor.advance(0)
        self.assertEqual(self.house.checkouts.removed, [key])

    def test_stopping_takes_a_minute_at_most_whatever_hangs(self) -> None:
        self.assign(1, line(), line("say"))
        self.house.end_problem = Refused("it does not end")
        stopped = self.instances.stop_all()
        self.house.pass_time(STOP_LIMIT - 1, 0.5)
        self.assertNoResult(stopped)
        self.house.pass_time(2, 0.5)
        self.successResultOf(stopped)
        self.house.end_problem = None
        self.house.pass_time(20, 0.5)
        self.assertEqual(set(self.states().values()), {"stopped"}, "it goes on trying")

    def test_the_same_assignment_again_changes_nothing(self) -> None:
        self.assign(1, line())
        self.assign(1, line())
        self.assertEqual((len(self.house.keeper.processes), self.house.process.signals), (1, []))

    def test_drains_then_stops_then_forgets_and_removes_the_checkout(self) -> None:
        self.assign(1, line())
        self.assign(2, line(goal=Goal.DRAIN))
        self.assertEqual((self.states(), self.house.process.signals), ({"http-v1": "draining"}, []))
        self.assign(3, line(goal=Goal.STOP))
        self.assertEqual((self.states(), self.house.process.signals), ({"http-v1": "stopped"}, [TERM]))
        self.assertEqual(self.house.checkouts.removed, [])
        self.assign(4)
        self.assertEqual(self.states(), {})
        self.assertEqual(self.house.checkouts.removed, [CheckoutKey("webapp", "v1", COMMIT)])
        self.assertEqual(self.journal.read().entries, ())

    def test_keeps_the_checkout_of_a_release_that_another_role_still_runs(self) -> None:
        self.assign(1, line(), line("say"))
        self.assign(2, line())
        self.house.reactor.advance(0)
        self.assertEqual((self.states(), self.house.checkouts.removed), ({"http-v1": "ready"}, []))

    def test_runs_releases_beside_each_other(self) -> None:
        self.assign(1, line(), line(release="v2"))
        ports = {seen.port for seen in self.instances.observed()}
        self.assertEqual((len(ports), set(self.house.rows.table)), (2, {"http-v1", "http-v2"}))

    def test_a_new_assignment_for_what_is_being_forgotten_starts_it_again(self) -> None:
        self.assign(1, line())
        self.assign(2, line(goal=Goal.STOP))
        self.assign(3)
        self.assign(4, line())
        self.assertEqual(self.states(), {"http-v1": "ready"})
        self.kill_and_restart_the_drone()
        self.assertEqual(self.states(), {"http-v1": "ready"})


class NewHubTests(InstancesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()
        self.assign(5, line(), line("say"))

    def test_a_hub_of_a_new_epoch_stops_nothing_and_sees_orphans(self) -> None:
        self.join("e2")
        self.assertEqual(set(self.states().values()), {"orphan"})
        self.assertEqual(self.instances.revision, Revision("e2", 0))
        self.assign(1, line("say"), epoch="e2")
        self.assertEqual(self.states(), {"http-v1": "orphan", "say-v1": "ready"})
        self.assertEqual([process.signals for process in self.house.keeper.processes], [[], []])

    def test_an_orphan_that_crashes_is_started_again(self) -> None:
        self.join("e2")
        self.house.keeper.processes[0].exit(1)
        self.house.pass_time(1)
        self.assertEqual((len(self.house.keeper.running), set(self.states().values())), (2, {"orphan"}))

    def test_an_orphan_ends_when_the_hub_names_it(self) -> None:
        self.join("e2")
        self.assign(1, line(goal=Goal.STOP), epoch="e2")
        self.assertEqual(self.states(), {"http-v1": "stopped", "say-v1": "orphan"})
        self.assign(2, epoch="e2")
        self.assertEqual(self.states(), {"say-v1": "orphan"})

    def test_orphans_stay_over_a_restart_of_the_drone(self) -> None:
        self.join("e2")
        self.assign(1, epoch="e2")
        self.kill_and_restart_the_drone()
        self.assertEqual(set(self.states().values()), {"orphan"})
        self.assertEqual(len(self.house.keeper.running), 2)

    def test_the_old_hub_finds_everything_as_it_was(self) -> None:
        self.join("e2")
        self.join("e1")
        self.assertEqual(len(self.house.keeper.running), 2)
        self.assign(6, line(), line("say"))
        self.assertEqual(set(self.states().values()), {"ready"})
        self.assertEqual(len(self.house.keeper.processes), 2)

    def test_a_new_hub_that_deploys_another_commit_under_the_same_number_gets_it(self) -> None:
        other = evolve(line(), commit="beef" * 10)
        self.join("e2")
        self.assign(1, other, epoch="e2")
        self.assertEqual(self.house.process.env["COMMIT"], "beef" * 10)
        self.assertEqual(self.states(), {"http-v1": "ready", "say-v1": "orphan"})


class RecallTests(InstancesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()
        self.assign(1, line(), line("say", goal=Goal.STOP))
        self.port = self.instances.observed()[0].port

    def test_brings_back_what_ran_without_the_hub_with_the_same_port(self) -> None:
        self.kill_and_restart_the_drone()
        self.assertEqual(self.states(), {"http-v1": "ready", "say-v1": "stopped"})
        self.assertEqual(self.instances.observed()[0].port, self.port)
        self.assertEqual(self.instances.revision, Revision("e1", 1))

    def test_ends_a_process_whose_start_was_never_saved(self) -> None:
        """A kill between the spawn and the save: the journal knows the instance but no process of it."""
        self.journal.save({"http-v1": Life()})
        before = self.house.process
        self.kill_and_restart_the_drone()
        self.assertEqual((before.signals, len(self.house.keeper.running)), ([TERM], 1))

    def test_ends_what_an_assignment_dropped_while_it_was_being_saved(self) -> None:
        """A kill between the save of an assignment and its first step."""
        self.journal.take(Revision("e1", 2), [])
        before = self.house.process
        self.kill_and_restart_the_drone()
        self.house.reactor.advance(0)
        self.assertEqual((before.signals, self.states()), ([TERM], {}))

    def test_what_was_draining_drains_on(self) -> None:
        self.assign(2, line(goal=Goal.DRAIN), line("say", goal=Goal.STOP))
        self.kill_and_restart_the_drone()
        self.assertEqual((self.states()["http-v1"], len(self.house.keeper.running)), ("draining", 1))
        self.assertEqual(self.house.rows.table, {})

    def test_what_was_draining_is_not_started_again(self) -> None:
        self.assign(2, line(goal=Goal.DRAIN), line("say", goal=Goal.STOP))
        self.reboot()
        self.assertEqual((self.states()["http-v1"], self.house.keeper.running), ("stopped", []))

    def test_a_drone_that_is_stopped_starts_its_apps_again_next_time(self) -> None:
        self.successResultOf(self.instances.stop_all())
        self.assertEqual((self.house.keeper.running, self.house.rows.table), ([], {}))
        self.house.reactor.advance(1)
        self.assertEqual(self.states(), {"http-v1": "stopped", "say-v1": "stopped"})
        self.kill_and_restart_the_drone()
        self.assertEqual(self.states(), {"http-v1": "ready", "say-v1": "stopped"})

    def test_the_apps_that_a_drone_left_go_on_at_its_next_start(self) -> None:
        self.instances.leave_all()
        before = self.house.process
        self.kill_and_restart_the_drone()
        self.assertEqual((self.states()["http-v1"], self.house.keeper.running), ("ready", [before]))

    def test_what_is_given_up_stays_so_when_the_drone_stops_and_starts(self) -> None:
        self.house.opens_at_once = False
        self.assign(2, evolve(line(generation=1), settings=RoleSettings(give_up=1)))
        self.house.process.exit(1)
        self.assertEqual(self.states()["http-v1"], "failed")
        self.successResultOf(self.instances.stop_all())
        self.kill_and_restart_the_drone()
        self.assertEqual(self.states()["http-v1"], "failed")

    def test_a_drone_that_leaves_its_apps_ends_nothing(self) -> None:
        self.instances.leave_all()
        self.house.pass_time(5)
        self.assertEqual((self.house.process.signals, set(self.house.rows.table)), ([], {"http-v1"}))
