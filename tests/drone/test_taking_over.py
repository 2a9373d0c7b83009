"""What a drone finds of its apps when it starts again."""

from __future__ import annotations

from attrs import evolve

from deployd.drone.life import Found, Life, found
from deployd.errors import Refused
from deployd.model.instance import AssignedInstance, Goal
from deployd.model.role import RoleSettings
from deployd.processes.custody import Holding
from deployd.wire.keeping import Held
from tests.drone.house import TERM, line
from tests.drone.test_instances import InstancesTestCase

PORTLESS = line("worker", port=False)
SOCKET = evolve(line(), settings=RoleSettings(socket=True))


class TakingOverTests(InstancesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def begin_with(self, *lines: AssignedInstance) -> None:
        self.assign(1, *lines)
        self.house.reactor.advance(1)
        self.before = self.house.keeper.running

    def restarts(self) -> int:
        return self.instances.observed()[0].restarts

    def test_what_was_ready_goes_on_with_the_same_pid_port_and_count(self) -> None:
        self.begin_with(line())
        seen = self.instances.observed()
        self.kill_and_restart_the_drone()
        self.assertEqual(self.instances.observed(), seen)
        self.assertEqual((self.house.keeper.running, self.house.ended), (self.before, []))

    def test_its_row_is_not_away_for_a_moment(self) -> None:
        self.begin_with(line())
        self.kill_and_restart_the_drone()
        self.house.pass_time(30)
        self.assertEqual(self.house.rows.tables, [])
        self.assertEqual(set(self.house.rows.table), {"http-v1"})

    def test_its_row_is_wanted_before_anybody_speaks_to_the_registry(self) -> None:
        self.begin_with(line())
        self.kill_the_drone()
        self.house.rows.table = {}
        self.start_the_drone()
        self.assertEqual(self.house.rows.tables, [frozenset({"http-v1"})])

    def test_what_was_not_ready_is_checked_on(self) -> None:
        self.house.opens_at_once = False
        self.begin_with(line())
        self.kill_and_restart_the_drone()
        self.assertEqual((self.states(), self.house.rows.table), ({"http-v1": "starting"}, {}))
        self.house.listening.add(self.instances.observed()[0].port)
        self.house.pass_time(1)
        self.assertEqual((self.states(), self.house.keeper.running), ({"http-v1": "ready"}, self.before))

    def test_one_without_a_port_goes_on_too(self) -> None:
        self.begin_with(PORTLESS)
        self.kill_and_restart_the_drone()
        self.assertEqual((self.states(), self.house.keeper.running), ({"worker-v1": "ready"}, self.before))

    def test_the_end_of_one_that_was_taken_over_is_seen(self) -> None:
        self.begin_with(line())
        self.kill_and_restart_the_drone()
        self.before[0].exit(3)
        self.assertEqual(self.house.rows.table, {})
        self.house.pass_time(1)
        self.assertEqual((self.states(), self.restarts()), ({"http-v1": "ready"}, 1))
        self.assertEqual(self.house.process.env["PORT"], self.before[0].env["PORT"])

    def test_one_that_ended_meanwhile_ended_with_its_code_and_is_started_again(self) -> None:
        self.begin_with(line())
        self.kill_the_drone()
        self.before[0].write(b"no memory\n")
        self.before[0].exit(3)
        self.start_the_drone()
        seen = self.instances.observed()[0]
        self.assertEqual(
            (seen.state.value, seen.reason, seen.tail), ("backoff", "exited with code 3 after 1 s", "no memory")
        )
        self.assertEqual(self.house.rows.table, {})
        self.house.pass_time(0.4)
        self.assertEqual(len(self.house.keeper.processes), 1, "the wait before it is kept")
        self.house.pass_time(0.3)
        self.assertEqual((self.states(), self.restarts()), ({"http-v1": "ready"}, 1))

    def test_one_that_ended_is_counted_once_though_its_drone_is_killed_again(self) -> None:
        self.house.opens_at_once = False
        self.begin_with(line())
        self.kill_the_drone()
        self.before[0].exit(3)
        for _ in range(3):
            self.start_the_drone()
            self.kill_the_drone()
        self.start_the_drone()
        self.house.pass_time(0.6)
        self.house.process.exit(3)
        started = self.house.reactor.seconds()
        while len(self.house.keeper.running) == 0:
            self.house.reactor.advance(0.25)
        self.assertEqual((self.house.reactor.seconds() - started, self.restarts()), (1, 2))

    def test_a_process_of_an_older_generation_is_ended_and_started_anew(self) -> None:
        self.begin_with(line())
        self.journal.take(self.instances.revision, [line(generation=1)])
        self.kill_and_restart_the_drone()
        self.assertEqual((self.before[0].signals, self.house.process.pid), ([TERM], self.before[0].pid + 1))
        self.assertEqual(self.instances.observed()[0].generation, 1)

    def test_a_process_with_another_config_is_ended_and_started_anew(self) -> None:
        self.begin_with(line())
        self.journal.take(self.instances.revision, [evolve(line(), config=2)])
        self.kill_and_restart_the_drone()
        self.assertEqual((self.before[0].signals, len(self.house.keeper.running)), ([TERM], 1))

    def test_what_should_stop_is_ended(self) -> None:
        self.begin_with(line())
        self.journal.take(self.instances.revision, [line(goal=Goal.STOP)])
        self.kill_and_restart_the_drone()
        self.assertEqual((self.states(), self.house.keeper.running), ({"http-v1": "stopped"}, []))

    def test_what_the_keeper_has_and_the_journal_does_not_know_is_ended_and_forgotten(self) -> None:
        self.begin_with(line())
        self.kill_the_drone()
        self.journal._database.connection.close()
        (self.directory / "journal.sqlite").unlink()
        self.start_the_drone()
        self.assertEqual((self.house.keeper.running, list(self.house.keeper.held())), ([], []))

    def test_what_nobody_wants_to_know_any_more_is_forgotten_by_the_keeper(self) -> None:
        self.begin_with(line())
        self.assign(2, line(goal=Goal.STOP))
        self.assertEqual(list(self.house.keeper.held()), [])

    def test_what_ran_for_somebody_is_ended_though_its_keeper_has_died_as_well(self) -> None:
        self.begin_with(line())
        self.house.means.scratch.make("exec-1")
        self.house.keeper.die()
        self.kill_the_drone()
        self.start_the_drone()
        self.assertIn(("exec-1", None, 0.0), self.house.ended)
        self.assertNotIn("exec-1", self.house.means.scratch.left())

    def test_a_socket_is_kept_over_a_restart_of_the_app_and_of_the_drone(self) -> None:
        self.begin_with(SOCKET)
        address = self.house.keeper.listening["http-v1"]
        self.before[0].exit(1)
        self.house.pass_time(1)
        self.kill_the_drone()
        self.house.process.exit(1)
        self.start_the_drone()
        self.house.pass_time(5)
        self.assertEqual((self.states(), self.restarts()), ({"http-v1": "ready"}, 2))
        self.assertEqual(self.house.keeper.listening, {"http-v1": address})
        self.assertEqual({process.launch.listen for process in self.house.keeper.processes}, {address})

    def test_a_socket_with_which_nothing_can_be_started_is_not_kept(self) -> None:
        self.begin_with(SOCKET)
        self.house.keeper.refuse = Refused("cannot listen on 127.0.0.1:20000: address already in use")
        self.before[0].exit(1)
        self.house.pass_time(1)
        self.assertEqual(self.house.keeper.listening, {})
        self.house.keeper.refuse = None
        self.house.pass_time(5)
        self.assertEqual(self.states(), {"http-v1": "ready"})

    def test_a_socket_is_closed_when_its_app_is_stopped(self) -> None:
        self.begin_with(SOCKET)
        self.assign(2, evolve(SOCKET, goal=Goal.STOP))
        self.assertEqual(self.house.keeper.listening, {})

    def test_a_stranger_on_the_port_of_one_that_was_taken_over_costs_it_its_row(self) -> None:
        self.begin_with(line())
        port = self.instances.observed()[0].port
        self.kill_the_drone()
        holding = Holding(frozenset({7}), stranger=4242)
        self.house.custody.answers[port] = holding
        answers = self.house.custody.answers
        self.journal = self.again()
        self.house = self.next_house()
        self.house.custody.answers = answers
        self.instances = self.begin()
        self.house.rows.startService()
        self.house.reactor.advance(0)
        self.assertEqual((self.house.rows.table, self.before[0].signals), ({}, [TERM]))
        self.assertIn("held by another process (pid 4242)", self.instances.observed()[0].reason)

    def test_its_keepers_death_starts_it_anew_with_the_same_id_and_port(self) -> None:
        self.begin_with(line(), PORTLESS)
        ports = {seen.id: seen.port for seen in self.instances.observed()}
        self.house.keeper.die()
        self.assertEqual(self.house.rows.table, {})
        self.house.pass_time(3)
        self.assertEqual([process.signals for process in self.before], [[TERM], [TERM]])
        self.assertEqual((len(self.house.keeper.running), set(self.states().values())), (2, {"ready"}))
        self.assertEqual({seen.id: seen.port for seen in self.instances.observed()}, ports)
        self.assertEqual([seen.failures for seen in self.instances.observed()], [0, 0])

    def test_after_a_reboot_all_that_should_run_is_started_and_counted(self) -> None:
        self.begin_with(line(), PORTLESS)
        self.reboot()
        self.house.pass_time(2)
        self.assertEqual((set(self.states().values()), len(self.house.keeper.running)), ({"ready"}, 2))
        self.assertEqual([seen.restarts for seen in self.instances.observed()], [1, 1])


class FoundTests(InstancesTestCase):
    def test_only_the_saved_process_of_the_present_line_goes_on(self) -> None:
        held = Held("http-v1", 7, "boot:7", 1.0)
        life = Life(pid=7, created="boot:7", line=line())
        self.assertEqual(found(line(), life, held), Found.LIVING)
        self.assertEqual(found(line(goal=Goal.DRAIN), life, held), Found.LIVING)
        self.assertEqual(found(line(), life, evolve(held, ended=2.0, code=0)), Found.ENDED)
        for other in (
            found(line(), life, None),
            found(line(), life, evolve(held, pid=8)),
            found(line(), life, evolve(held, created="boot:8")),
            found(line(generation=1), life, held),
            found(line(), evolve(life, gone=True), held),
            found(line(), Life(), held),
        ):
            self.assertEqual(other, Found.OTHER)

    def test_what_is_over_stays_so_in_its_generation(self) -> None:
        life = Life(pid=7, created="boot:7", line=line(), gone=True, over="failed")
        self.assertEqual(found(line(), life, None), Found.OVER)
        self.assertEqual(found(line(generation=1), life, None), Found.OTHER)
