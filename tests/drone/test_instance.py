"""The life of one instance."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred, execute, fail
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.ends import LEFTOVER_GRACE
from deployd.drone.life import Life
from deployd.drone.problem import Hopeless
from deployd.errors import NoAnswer, NotOwner, Refused
from deployd.model.instance import Goal, State
from deployd.model.role import Check, StopRule
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.trees import ProcessRef
from deployd.testing.keeper import reference
from tests.drone.house import COMMIT, FIRST_PORT, KILL, TERM, House, line, state_of

GRACE, DEADLINE = StopRule().grace, Check().deadline


class InstanceTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.house = House(directory)
        self.addCleanup(self.house.close)


def said(events: list[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events]


class StartingTests(InstanceTestCase):
    def test_becomes_ready_once_its_row_is_acknowledged(self) -> None:
        self.house.rows.hold()
        instance = self.house.ready()
        self.assertEqual(state_of(instance), "registering")
        self.house.rows.release()
        seen = instance.observed()
        self.assertEqual((seen.state, seen.pid, seen.host), (State.READY, self.house.process.pid, "127.0.0.1"))
        row = self.house.rows.table[instance.line.id]
        self.assertEqual((row.namespace, row.app, row.release, row.role), (COMMIT, "webapp", "v1", "http"))
        self.assertEqual(row.port, seen.port)

    def test_runs_the_command_in_its_checkout_with_the_environment_of_an_app(self) -> None:
        self.house.ready()
        process = self.house.process
        self.assertEqual((process.argv, process.cwd), (("/bin/sh", "-c", "serve"), str(self.house.directory)))
        self.assertEqual(self.house.checkouts.asked, [CheckoutKey("webapp", "v1", COMMIT)])
        self.assertEqual(
            process.env["DEPLOYD_PEERS_URL"], f"http://127.0.0.1:6080/v1/ports/{COMMIT}?app=webapp&release=v1"
        )
        self.assertEqual((process.env["DEPLOYD_REGISTRY"], process.env["HOST"]), ("127.0.0.1:6000", "127.0.0.1"))

    def test_starts_nothing_before_the_checkout_is_there(self) -> None:
        self.house.checkouts.held = Deferred()
        instance = self.house.instance()
        instance.start(instance.line)
        self.assertEqual((state_of(instance), self.house.keeper.processes), ("waiting", []))
        self.house.checkouts.held.callback(self.house.directory)
        self.assertEqual(len(self.house.keeper.processes), 1)

    def test_saves_its_process_before_it_registers(self) -> None:
        saved: Deferred[None] = Deferred()
        self.house.means = evolve(self.house.means, save=lambda *life: saved)
        instance = self.house.instance()
        instance.start(instance.line)
        self.assertEqual((state_of(instance), self.house.rows.table), ("registering", {}))
        saved.callback(None)
        self.assertEqual(state_of(instance), "ready")

    def test_a_disk_that_is_full_keeps_no_app_down(self) -> None:
        self.house.means = evolve(self.house.means, save=lambda *life: fail(Refused("full")))
        instance = self.house.instance()
        instance.start(instance.line)
        self.assertEqual(state_of(instance), "ready")

    def test_waits_for_an_app_that_listens_late(self) -> None:
        self.house.opens_at_once = False
        instance = self.house.ready()
        self.house.pass_time(20)
        self.assertEqual(state_of(instance), "starting")
        self.house.listening.add(instance.observed().port)
        self.house.pass_time(0.2)
        self.assertEqual(state_of(instance), "ready")

    def test_ends_an_app_that_never_listens_and_says_so(self) -> None:
        self.house.opens_at_once = False
        instance = self.house.ready()
        self.house.pass_time(DEADLINE + 0.2)
        seen = instance.observed()
        self.assertEqual((seen.state, seen.failures), (State.BACKOFF, 1))
        self.assertEqual(
            seen.reason,
            f"does not answer on port {seen.port} after {DEADLINE:g} s (connection refused); it listens on no port",
        )
        self.assertEqual(self.house.process.signals, [TERM])

    def test_a_role_without_port_is_ready_after_a_second_and_has_no_row(self) -> None:
        instance = self.house.instance(line("worker", port=False))
        instance.start(instance.line)
        self.house.reactor.advance(0.9)
        self.assertEqual(state_of(instance), "starting")
        self.house.reactor.advance(0.1)
        self.assertEqual((state_of(instance), self.house.rows.table), ("ready", {}))
        self.assertNotIn("PORT", self.house.process.env)
        self.assertEqual((instance.observed().port, instance.observed().host), (0, ""))

    def test_a_missing_command_is_fatal_and_named(self) -> None:
        instance = self.house.instance(evolve(line(), argv=("no-such-program",)))
        instance.start(instance.line)
        seen = instance.observed()
        self.assertEqual((seen.state, seen.fatal, seen.failures), (State.BACKOFF, True, 1))
        self.assertIn("no-such-program: command not found on this drone", seen.reason)
        self.assertEqual(self.house.keeper.processes, [])

    def test_a_refused_checkout_is_fatal_and_tried_again_slowly(self) -> None:
        self.house.checkouts.problem = Hopeless("'a' cannot be checked out: it is a link")
        instance = self.house.instance()
        instance.start(instance.line)
        self.assertEqual((instance.observed().fatal, instance.observed().reason[:3]), (True, "'a'"))
        self.house.checkouts.problem = None
        self.house.pass_time(59)
        self.assertEqual(state_of(instance), "backoff")
        self.house.pass_time(2)
        self.assertEqual(state_of(instance), "ready")

    def test_says_why_it_waits_while_the_hub_is_away(self) -> None:
        self.house.checkouts.problem = NoAnswer("the hub is away")
        instance = self.house.instance()
        instance.start(instance.line)
        self.assertEqual((instance.observed().reason, instance.observed().fatal), ("the hub is away", False))

    def test_a_kernel_that_refuses_is_a_failure_like_others(self) -> None:
        self.house.keeper.refuse = Refused("Cannot allocate memory")
        instance = self.house.ready()
        self.assertIn("Cannot allocate memory", instance.observed().reason)
        self.house.keeper.refuse = None
        self.house.pass_time(1)
        self.assertEqual(state_of(instance), "ready")

    def test_a_row_that_the_registry_refuses_is_tried_again(self) -> None:
        self.house.rows.refusals["http-v1"] = NotOwner("that row is another's")
        instance = self.house.ready()
        self.assertEqual(state_of(instance), "registering")
        self.assertIn("that row is another's", instance.observed().reason)
        self.house.rows.refusals.clear()
        self.house.reactor.advance(5)
        self.assertEqual((state_of(instance), instance.observed().reason), ("ready", ""))


class FallingTests(InstanceTestCase):
    def test_restarts_a_crashed_app_with_the_same_id_and_port(self) -> None:
        instance = self.house.ready()
        port, first = instance.observed().port, self.house.process
        first.exit(3)
        self.assertEqual(self.house.rows.table, {})
        self.house.pass_time(0.6)
        seen = instance.observed()
        self.assertEqual((seen.state, seen.port, seen.restarts), (State.READY, port, 1))
        self.assertIsNot(self.house.process, first)
        self.assertEqual(self.house.rows.table["http-v1"].port, port)

    def test_ends_what_the_old_process_left_behind_before_it_starts_anew(self) -> None:
        self.house.ready()
        session = self.house.process
        self.house.opens_at_once = False
        session.exit(1)
        self.assertEqual(self.house.ended, [("http-v1", reference(session), LEFTOVER_GRACE)])
        self.assertEqual(len(self.house.keeper.processes), 1)

    def test_never_starts_a_second_one_while_something_of_the_first_does_not_die(self) -> None:
        instance = self.house.ready()
        self.house.end_problem = Refused("2 processes of http-v1 do not die")
        self.house.process.exit(1)
        self.house.pass_time(120, step=1)
        self.assertEqual(len(self.house.keeper.processes), 1)
        self.assertEqual(instance.observed().reason, "2 processes of http-v1 do not die")
        self.house.end_problem = None
        self.house.pass_time(70, step=1)
        self.assertEqual((len(self.house.keeper.processes), state_of(instance)), (2, "ready"))

    def test_waits_ever_longer_for_an_app_that_ends_at_once(self) -> None:
        self.house.opens_at_once = False
        instance = self.house.ready()
        waits = []
        for _ in range(6):
            self.house.process.exit(3)
            ended, count = self.house.reactor.seconds(), len(self.house.keeper.processes)
            while len(self.house.keeper.processes) == count:
                self.house.reactor.advance(0.25)
            waits.append(self.house.reactor.seconds() - ended)
        self.assertEqual(waits, [0.5, 1, 2, 4, 8, 16])
        self.assertEqual((instance.observed().failures, instance.observed().restarts), (6, 6))
        self.assertEqual(instance.observed().reason, "exited at once with code 3")

    def test_an_app_that_comes_up_and_falls_again_waits_longer_too_but_has_not_failed_to_start(self) -> None:
        instance = self.house.ready()
        for _ in range(4):
            self.house.process.exit(1)
            self.house.pass_time(10)
        self.assertEqual((instance.observed().failures, state_of(instance)), (0, "ready"))
        self.house.process.exit(1)
        self.house.pass_time(7)
        self.assertEqual(state_of(instance), "backoff")

    def test_tells_the_last_output_only_while_something_is_wrong(self) -> None:
        instance = self.house.ready()
        self.house.process.write(b"Traceback: no database\n")
        self.assertEqual(instance.observed().tail, "")
        self.house.process.exit(1)
        self.assertEqual(instance.observed().tail, "Traceback: no database")
        self.house.pass_time(1)
        self.assertEqual((state_of(instance), instance.observed().tail), ("ready", ""))

    def test_a_failure_is_told_with_its_last_output_and_never_before_it(self) -> None:
        """The report that makes a deploy fail is the one whose output the deploy shows."""
        instance = self.house.ready()
        reading: Deferred[str] = Deferred()
        self.house.to_thread = lambda *asked: reading
        self.house.process.exit(1)
        self.assertEqual((instance.observed().reason, instance.observed().tail), ("", ""))
        before = self.house.changes
        reading.callback("no database")
        self.assertEqual(instance.observed().reason, "exited at once with code 1")
        self.assertEqual(instance.observed().tail, "no database")
        self.assertGreater(self.house.changes, before)

    def test_the_output_of_an_earlier_start_is_not_that_of_this_one(self) -> None:
        self.house.opens_at_once = False
        instance = self.house.ready()
        self.house.process.write(b"first\n")
        self.house.process.exit(1)
        self.house.pass_time(1)
        self.house.process.write(b"second\n")
        self.house.process.exit(1)
        self.assertEqual(instance.observed().tail, "second")
        self.house.pass_time(0.5)
        self.house.checkouts.problem = NoAnswer("the hub is away")
        self.house.pass_time(1)
        self.assertEqual((instance.observed().reason, instance.observed().tail), ("the hub is away", ""))

    def test_is_started_again_though_its_last_output_cannot_be_read(self) -> None:
        instance = self.house.ready()
        self.house.keeper.unreadable = OSError(5, "Input/output error")
        self.house.process.exit(3)
        self.house.pass_time(1)
        self.assertEqual((state_of(instance), instance.observed().restarts), ("ready", 1))

    def test_a_stop_while_the_last_output_is_read_is_followed(self) -> None:
        instance = self.house.ready()
        self.house.to_thread = lambda *asked: Deferred(lambda _: None)
        self.house.process.exit(1)
        self.house.to_thread = execute
        instance.stop(line(goal=Goal.STOP))
        self.assertEqual((state_of(instance), instance.observed().reason), ("stopped", ""))

    def test_takes_another_port_when_somebody_else_has_taken_its_own(self) -> None:
        import socket

        instance = self.house.ready()
        port = instance.observed().port
        self.house.process.exit(1)
        with socket.socket() as stranger:
            stranger.bind(("0.0.0.0", port))
            stranger.listen()
            self.house.pass_time(1)
        self.assertEqual(state_of(instance), "ready")
        self.assertNotEqual(instance.observed().port, port)


class EndingTests(InstanceTestCase):
    def test_frees_the_row_before_it_ends_the_process(self) -> None:
        instance = self.house.ready()
        self.house.happened.clear()
        instance.stop(line(goal=Goal.STOP))
        self.assertEqual(self.house.happened, ["free http-v1", "TERM http-v1"])
        self.assertEqual((state_of(instance), instance.observed().pid), ("stopped", 0))

    def test_ends_nothing_before_the_registry_has_acknowledged_that(self) -> None:
        instance = self.house.ready()
        self.house.rows.hold()
        instance.stop(line(goal=Goal.STOP))
        self.assertEqual((state_of(instance), self.house.process.signals), ("stopping", []))
        self.house.rows.release()
        self.assertEqual((state_of(instance), self.house.process.signals), ("stopped", [TERM]))

    def test_a_registry_that_is_away_delays_a_stop_for_five_seconds_only(self) -> None:
        instance = self.house.ready()
        self.house.rows.disconnect()
        instance.stop(line(goal=Goal.STOP))
        self.house.pass_time(4)
        self.assertEqual(self.house.process.signals, [])
        with capturedLogs() as events:
            self.house.pass_time(1.1)
        self.assertIn("cannot free the row of http-v1 yet: the registry did not answer within 5 s", said(events))
        self.assertEqual((state_of(instance), self.house.process.signals), ("stopped", [TERM]))

    def test_kills_after_the_grace(self) -> None:
        instance = self.house.ready()
        self.house.process.ignored.add(TERM)
        instance.stop(line(goal=Goal.STOP))
        self.house.reactor.advance(GRACE)
        self.assertEqual((state_of(instance), self.house.process.signals), ("stopped", [TERM, KILL]))

    def test_draining_frees_the_row_tells_the_revision_and_lets_the_process_run(self) -> None:
        instance = self.house.ready()
        instance.drain(line(goal=Goal.DRAIN))
        seen = instance.observed()
        self.assertEqual((seen.state, seen.deregistered), (State.DRAINING, self.house.rows.revision))
        self.assertEqual((self.house.rows.table, self.house.process.ended), ({}, False))
        instance.stop(line(goal=Goal.STOP))
        self.assertEqual((state_of(instance), self.house.process.signals), ("stopped", [TERM]))

    def test_what_is_drained_before_it_is_saved_that_it_passed_has_no_row(self) -> None:
        saved: list[Deferred[None]] = []
        self.house.means = evolve(self.house.means, save=lambda id, life: saved.append(Deferred()) or saved[-1])
        instance = self.house.instance()
        instance.start(line())
        self.house.pass_time(0.1)
        self.assertEqual(state_of(instance), "registering")
        instance.drain(line(goal=Goal.DRAIN))
        for waiting in saved:
            waiting.callback(None)
        self.house.pass_time(60)
        self.assertEqual(state_of(instance), "draining")
        self.assertNotIn("put http-v1", self.house.happened)

    def test_a_drained_app_that_ends_is_not_started_again(self) -> None:
        instance = self.house.ready()
        instance.drain(line(goal=Goal.DRAIN))
        self.house.process.exit(0)
        self.house.pass_time(5)
        self.assertEqual((state_of(instance), len(self.house.keeper.processes)), ("stopped", 1))
        self.assertIsNotNone(instance.observed().deregistered)

    def test_what_waits_to_be_tried_again_is_drained_and_stopped_at_once(self) -> None:
        instance = self.house.ready()
        self.house.process.exit(1)
        instance.drain(line(goal=Goal.DRAIN))
        self.assertEqual((state_of(instance), instance.observed().reason), ("stopped", ""))
        self.assertIsNotNone(instance.observed().deregistered)
        self.house.pass_time(5)
        self.assertEqual(len(self.house.keeper.processes), 1)

    def test_a_stop_while_the_checkout_is_on_the_way_starts_nothing(self) -> None:
        self.house.checkouts.held = Deferred(lambda _: None)
        instance = self.house.instance()
        instance.start(instance.line)
        instance.stop(line(goal=Goal.STOP))
        self.assertEqual(state_of(instance), "stopped")
        self.house.pass_time(5)
        self.assertEqual(self.house.keeper.processes, [])

    def test_a_drained_app_that_is_wanted_again_registers_again(self) -> None:
        instance = self.house.ready()
        instance.drain(line(goal=Goal.DRAIN))
        instance.start(line())
        self.house.reactor.advance(0)
        self.assertEqual((state_of(instance), instance.observed().deregistered), ("ready", None))
        self.assertEqual((len(self.house.keeper.processes), len(self.house.rows.table)), (1, 1))

    def test_a_stopped_one_starts_again_on_its_port(self) -> None:
        instance = self.house.ready()
        port = instance.observed().port
        instance.stop(line(goal=Goal.STOP))
        instance.start(line())
        self.house.reactor.advance(0)
        self.assertEqual((state_of(instance), instance.observed().port), ("ready", port))

    def test_a_stop_waits_for_a_start_that_is_on_its_way_and_ends_what_it_brings(self) -> None:
        self.house.keeper.held_back = []
        instance = self.house.ready()
        instance.stop(line(goal=Goal.STOP))
        self.house.pass_time(5)
        self.assertEqual((state_of(instance), self.house.ended), ("stopping", []))
        self.house.keeper.release()
        self.assertEqual((state_of(instance), self.house.process.signals), ("stopped", [TERM]))

    def test_a_stop_waits_for_a_start_that_fails_in_the_end(self) -> None:
        self.house.keeper.held_back = []
        instance = self.house.ready()
        instance.stop(line(goal=Goal.STOP))
        self.house.keeper.refuse = Refused("no memory")
        self.house.keeper.release()
        self.assertEqual((state_of(instance), len(self.house.ended)), ("stopped", 1))

    def test_what_was_to_drain_before_it_had_started_drains_or_stops(self) -> None:
        for refuse, state in ((None, "draining"), (Refused("no memory"), "stopped")):
            self.house.keeper.held_back, self.house.keeper.refuse = [], refuse
            instance = self.house.instance(line(release=f"v{2 if refuse else 1}"))
            instance.start(instance.line)
            instance.drain(evolve(instance.line, goal=Goal.DRAIN))
            self.house.keeper.release()
            self.assertEqual((state_of(instance), self.house.rows.table), (state, {}))

    def test_leaving_it_ends_nothing(self) -> None:
        instance = self.house.ready()
        instance.leave()
        self.house.pass_time(5)
        self.assertEqual((self.house.process.signals, len(self.house.rows.table)), ([], 1))


class RestartingTests(InstanceTestCase):
    def test_deregisters_ends_and_starts_with_the_same_id_and_port(self) -> None:
        instance = self.house.ready()
        port = instance.observed().port
        self.house.happened.clear()
        instance.restart(line(generation=1))
        self.house.reactor.advance(0)
        self.assertEqual(self.house.happened, ["free http-v1", "TERM http-v1", "start http-v1", "put http-v1"])
        seen = instance.observed()
        self.assertEqual((seen.state, seen.port, seen.generation, seen.restarts), (State.READY, port, 1, 1))

    def test_reports_the_old_generation_until_the_new_process_runs(self) -> None:
        instance = self.house.ready()
        self.house.process.ignored.add(TERM)
        instance.restart(line(generation=1))
        self.assertEqual((state_of(instance), instance.observed().generation), ("stopping", 0))
        self.house.reactor.advance(GRACE)
        self.assertEqual(instance.observed().generation, 1)

    def test_a_restart_tries_a_failing_one_at_once(self) -> None:
        self.house.checkouts.problem = Hopeless("no")
        instance = self.house.ready()
        self.house.checkouts.problem = None
        instance.restart(line(generation=1))
        self.house.reactor.advance(0)
        self.assertEqual((state_of(instance), instance.observed().failures), ("ready", 0))

    def test_a_stop_during_a_restart_wins(self) -> None:
        instance = self.house.ready()
        self.house.process.ignored.add(TERM)
        instance.restart(line(generation=1))
        instance.stop(line(goal=Goal.STOP, generation=1))
        self.house.reactor.advance(GRACE)
        self.assertEqual((state_of(instance), len(self.house.keeper.processes)), ("stopped", 1))


class AfterARestartOfTheDroneTests(InstanceTestCase):
    def test_ends_what_runs_of_it_before_it_starts(self) -> None:
        blocked: Deferred[None] = Deferred()
        end = lambda *asked: (self.house.ended.append(asked[:3]), blocked)[1]  # noqa: E731
        self.house.means = evolve(self.house.means, end=end)
        instance = self.house.instance(life=Life(port=FIRST_PORT + 7, pid=4711, created="boot:1"))
        instance.recall()
        instance.start(instance.line)
        self.assertEqual(self.house.ended, [("http-v1", ProcessRef(4711, "boot:1"), GRACE)])
        self.assertEqual(self.house.keeper.processes, [])
        blocked.callback(None)
        self.house.reactor.advance(0)
        self.assertEqual((state_of(instance), instance.observed().port), ("ready", FIRST_PORT + 7))

    def test_ends_what_runs_of_it_even_if_its_process_was_never_saved(self) -> None:
        instance = self.house.instance(life=Life())
        instance.recall()
        instance.start(instance.line)
        self.assertEqual(self.house.ended, [("http-v1", None, GRACE)])

    def test_one_that_should_be_stopped_is_swept_and_not_started(self) -> None:
        instance = self.house.instance(line(goal=Goal.STOP), Life())
        instance.recall()
        instance.stop(instance.line)
        self.assertEqual((len(self.house.ended), state_of(instance)), (1, "stopped"))

    def test_a_new_one_costs_no_sweep(self) -> None:
        self.house.ready()
        self.assertEqual(self.house.ended, [])
