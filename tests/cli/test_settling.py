"""stop and restart wait until it is so."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.settling import restarting, stopping
from deployd.errors import UnknownInstance
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

    def test_an_old_process_that_fails_is_not_the_new_ones_failure(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "backoff", generation=0)]})
        working = bench.start(restarting(bench.cluster, ["a"]))
        self.assertNoResult(working)
        bench.way.advance(11)
        self.assertEqual(self.successResultOf(working).exit_code, 3)
