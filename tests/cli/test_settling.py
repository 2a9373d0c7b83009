"""stop and restart wait until it is so."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.settling import Process, restarting, spawning, stopping
from deployd.errors import DroneAway, Refused, UnknownInstance
from tests.cli.clusters import Bench
from tests.cli.scripted_hub import instance

ROWS = "instances"


class StoppingTests(SynchronousTestCase):
    def test_ends_when_every_instance_is_stopped(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "ready"), instance("b", "ready"), instance("c", "ready")]})
        working = bench.start(stopping(bench.cluster, ["a", "c"]))
        bench.change(lists={ROWS: [instance("a", "stopped"), instance("b", "ready"), instance("c", "draining")]})
        self.assertNoResult(working)
        bench.change(lists={ROWS: [instance("a", "stopped"), instance("b", "ready"), instance("c", "stopped")]})
        settled = self.successResultOf(working)
        self.assertEqual(settled.exit_code, 0)
        self.assertEqual(settled.done, ("a is stopped", "c is stopped"))
        self.assertEqual(bench.hub.asked_for("Stop"), [{"ids": ["a", "c"]}])

    def test_an_instance_that_is_gone_is_stopped(self) -> None:
        bench = Bench(lists={ROWS: []})
        self.assertEqual(self.successResultOf(bench.start(stopping(bench.cluster, ["a"]))).exit_code, 0)

    def test_names_a_drone_that_is_away(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "away", drone="d7")]})
        settled = self.successResultOf(bench.start(stopping(bench.cluster, ["a"])))
        self.assertEqual(settled.exit_code, 0)
        self.assertIn("d7 is away", settled.done[0])

    def test_says_at_the_deadline_which_one_is_not_stopped(self) -> None:
        bench = Bench(seconds=10, lists={ROWS: [instance("a", "stopped"), instance("b", "stopping")]})
        working = bench.start(stopping(bench.cluster, ["a", "b"]))
        bench.way.advance(9)
        self.assertNoResult(working)
        bench.way.advance(1)
        settled = self.successResultOf(working)
        self.assertEqual(settled.exit_code, 3)
        self.assertEqual(settled.done, ("a is stopped",))
        self.assertTrue(settled.undone[0].startswith("b is not stopped yet"))
        self.assertEqual(
            settled.document, {"instances": [{"id": "a", "state": "stopped"}, {"id": "b", "state": "stopping"}]}
        )

    def test_an_unknown_id_is_refused_by_the_hub(self) -> None:
        bench = Bench(errors={"Stop": UnknownInstance("there is no instance 'x'")})
        self.failureResultOf(bench.start(stopping(bench.cluster, ["x"])), UnknownInstance)


class RestartingTests(SynchronousTestCase):
    def test_waits_for_the_new_process_not_for_the_old_one(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "ready", generation=0)]})
        working = bench.start(restarting(bench.cluster, ["a"]))
        self.assertNoResult(working)
        bench.change(lists={ROWS: [instance("a", "starting", generation=1)]})
        self.assertNoResult(working)
        bench.change(lists={ROWS: [instance("a", "ready", generation=1)]})
        self.assertEqual(self.successResultOf(working).exit_code, 0)

    def test_one_that_does_not_come_up_is_a_failure_with_its_reason(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "backoff", generation=1, reason="ended with code 1")]})
        settled = self.successResultOf(bench.start(restarting(bench.cluster, ["a"])))
        self.assertEqual(settled.exit_code, 1)
        self.assertIn("ended with code 1", settled.undone[0])

    def test_one_that_was_given_up_is_a_failure_with_its_last_lines(self) -> None:
        row = instance("a", "failed", generation=1, reason="ended 20 times in a row")
        bench = Bench(lists={ROWS: [row]}, printed={"b": b"not mine\n", "a": b"no such\x1b[31m file\nbye\n"})
        settled = self.successResultOf(bench.start(restarting(bench.cluster, ["a"])))
        self.assertEqual(
            settled.undone,
            ("a does not come up: ended 20 times in a row\n  | no such\N{REPLACEMENT CHARACTER}[31m file\n  | bye",),
        )
        (asked,) = bench.hub.asked_for("Logs")
        self.assertEqual((asked["drone"], asked["releases"], asked["role"]), ("d1", ["v1"], "http"))

    def test_whose_drone_tells_no_lines_is_a_failure_with_its_reason(self) -> None:
        bench = Bench(
            lists={ROWS: [instance("a", "backoff", generation=1)]}, errors={"Logs": DroneAway("d1 is not connected")}
        )
        settled = self.successResultOf(bench.start(restarting(bench.cluster, ["a"])))
        self.assertEqual(settled.undone, ("a does not come up: it ended; its drone goes on trying",))

    def test_an_old_process_that_fails_is_not_the_new_ones_failure(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "backoff", generation=0)]})
        working = bench.start(restarting(bench.cluster, ["a"]))
        self.assertNoResult(working)
        bench.way.advance(11)
        self.assertEqual(self.successResultOf(working).exit_code, 3)


class SpawningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.process = Process("webapp", "v1", ("d1", "d2"), "", ("import", "--all"), {"KEY": "hunter2"})
        self.rows = [instance("a", "waiting"), instance("b", "waiting", drone="d2")]

    def test_ends_when_it_runs_on_every_drone(self) -> None:
        bench = Bench(lists={ROWS: self.rows})
        working = bench.start(spawning(bench.cluster, self.process))
        bench.change(lists={ROWS: [instance("a", "ready"), instance("b", "building", drone="d2")]})
        self.assertNoResult(working)
        bench.change(lists={ROWS: [instance("a", "ready"), instance("b", "ready", drone="d2")]})
        settled = self.successResultOf(working)
        self.assertEqual((settled.done, settled.exit_code), (("a runs on d1", "b runs on d2"), 0))
        self.assertEqual(
            settled.document["instances"],
            [{"id": "a", "state": "ready", "drone": "d1"}, {"id": "b", "state": "ready", "drone": "d2"}],
        )
        self.assertEqual(settled.document["release"], "v1")
        (asked,) = bench.hub.asked_for("Spawn")
        self.assertEqual((asked["argv"], asked["drones"]), (["import", "--all"], ["d1", "d2"]))
        self.assertEqual(asked["env"], b'{"KEY":"hunter2"}')

    def test_one_that_does_not_come_up_is_a_failure_with_its_last_lines(self) -> None:
        rows = [instance("a", "ready"), instance("b", "backoff", drone="d2", reason="exited with code 1")]
        bench = Bench(lists={ROWS: rows}, printed={"b": b"Traceback\n"})
        settled = self.successResultOf(bench.start(spawning(bench.cluster, self.process)))
        self.assertEqual((settled.done, settled.exit_code), (("a runs on d1",), 1))
        sentence = "b does not come up: exited with code 1; its drone goes on trying\n  | Traceback"
        self.assertEqual(settled.undone, (sentence,))

    def test_a_drone_that_is_away_starts_it_when_it_returns(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "away", drone="d7")]})
        settled = self.successResultOf(bench.start(spawning(bench.cluster, self.process)))
        self.assertEqual((settled.done, settled.exit_code), (("d7 is away; a will start when it returns",), 0))

    def test_what_the_hub_refuses_is_refused(self) -> None:
        bench = Bench(lists={ROWS: []}, errors={"Spawn": Refused("no drone runs webapp v1")})
        self.failureResultOf(bench.start(spawning(bench.cluster, self.process)), Refused)

    def test_its_environment_is_in_no_repr(self) -> None:
        self.assertNotIn("hunter2", repr(self.process))
