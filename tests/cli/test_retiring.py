"""retire and drain wait until nothing runs, and say what they wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.retiring import draining, retiring, retiring_unused, undraining
from deployd.errors import Refused
from tests.cli.clusters import Bench
from tests.cli.scripted_hub import COMMIT, instance

ROWS = "instances"


class RetiringTests(SynchronousTestCase):
    def test_ends_when_nothing_of_the_release_runs(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "ready"), instance("b", "ready")]})
        working = bench.start(retiring(bench.cluster, "webapp", "master"))
        self.assertEqual(bench.hub.asked_for("List")[0]["commit"], "v1")
        bench.change(lists={ROWS: [instance("a", "stopped"), instance("b", "stopping")]})
        self.assertNoResult(working)
        bench.change(lists={ROWS: []})
        settled = self.successResultOf(working)
        self.assertEqual(settled.exit_code, 0)
        self.assertEqual(settled.done, ("webapp v1 (74336bc) is retired",))
        self.assertEqual(
            settled.document, {"app": "webapp", "commit": COMMIT, "release": "v1", "state": "retired", "away": []}
        )

    def test_does_not_wait_for_drones_that_are_away_and_names_them(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "away", drone="d2"), instance("b", "away", drone="d1")]})
        settled = self.successResultOf(bench.start(retiring(bench.cluster, "webapp", "v1")))
        self.assertEqual(settled.exit_code, 0)
        self.assertIn("d1, d2", settled.done[1])
        self.assertEqual(settled.document["state"], "retiring")

    def test_says_so_at_the_deadline(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "stopping")]})
        working = bench.start(retiring(bench.cluster, "webapp", "v1"))
        bench.way.advance(11)
        settled = self.successResultOf(working)
        self.assertEqual((settled.exit_code, settled.done), (3, ()))

    def test_says_at_the_deadline_what_is_waited_for(self) -> None:
        held = [instance(f"i{number}", "draining", reason="3 requests under way") for number in range(7)]
        bench = Bench(lists={ROWS: held}, page=10)
        working = bench.start(retiring(bench.cluster, "webapp", "v1"))
        bench.way.advance(11)
        (sentence,) = self.successResultOf(working).undone
        self.assertIn("i0 on d1 (draining: 3 requests under way), i1", sentence)
        self.assertIn("and 2 more", sentence)

    def test_what_is_routed_is_refused(self) -> None:
        bench = Bench(errors={"Retire": Refused("v1 is routed by shop.example")})
        self.failureResultOf(bench.start(retiring(bench.cluster, "webapp", "v1")), Refused)


class UnusedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[dict[str, Any]] = []

    def row(self, release: str, goes: bool) -> dict[str, Any]:
        reason = "nobody uses it" if goes else "shop.example"
        return {"app": "webapp", "release": release, "commit": COMMIT, "goes": goes, "reason": reason}

    def retire(self, bench: Bench, dry_run: bool = False) -> Deferred[Any]:
        def tell(rows: Sequence[dict[str, Any]]) -> None:
            self.told += rows

        return bench.start(retiring_unused(bench.cluster, "webapp", dry_run, tell))

    def test_waits_for_the_releases_that_go_only(self) -> None:
        rows = [self.row("v1", True), self.row("v2", True), self.row("v3", False)]
        here = [instance("a", "draining", release="v1"), instance("b", "ready", release="v3")]
        bench = Bench(lists={"unused": rows, ROWS: here})
        working = self.retire(bench)
        self.assertEqual(self.told, rows)
        self.assertNoResult(working)
        bench.change(lists={ROWS: [instance("b", "ready", release="v3")]})
        settled = self.successResultOf(working)
        self.assertEqual((settled.exit_code, settled.done), (0, ("2 releases retired",)))
        self.assertEqual(settled.document["releases"], rows)

    def test_a_dry_run_changes_nothing_and_does_not_wait(self) -> None:
        bench = Bench(lists={"unused": [self.row("v1", True)], ROWS: [instance("a", "ready")]})
        settled = self.successResultOf(self.retire(bench, dry_run=True))
        self.assertEqual(settled.done, ("1 release would go",))
        self.assertTrue(all(asked["dry_run"] for asked in bench.hub.asked_for("RetireUnused")))

    def test_where_nothing_goes_nothing_is_awaited(self) -> None:
        bench = Bench(lists={"unused": [self.row("v1", False)], ROWS: [instance("a", "ready")]})
        self.assertEqual(self.successResultOf(self.retire(bench)).done, ("nothing goes",))

    def test_names_drones_that_are_away_and_what_is_late(self) -> None:
        rows = [self.row("v1", True), self.row("v2", True)]
        here = [instance("a", "away", drone="d2"), instance("b", "stopping", release="v2")]
        bench = Bench(seconds=10, lists={"unused": rows, ROWS: here})
        working = self.retire(bench)
        bench.way.advance(11)
        settled = self.successResultOf(working)
        self.assertEqual(settled.exit_code, 3)
        self.assertEqual(settled.done, ("1 release retired", "away, and told when they return: d2"))
        self.assertIn("1 release is not down everywhere yet: waiting for b on d1 (stopping)", settled.undone[0])


class DrainingTests(SynchronousTestCase):
    def test_ends_when_nothing_runs_there(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "ready"), instance("b", "orphan")]})
        working = bench.start(draining(bench.cluster, "d1", False))
        self.assertEqual(bench.hub.asked_for("DrainDrone"), [{"name": "d1", "drain": True, "force": False}])
        self.assertEqual(bench.hub.asked_for("List")[0]["drone"], "d1")
        self.assertNoResult(working)
        bench.change(lists={ROWS: [instance("a", "stopped"), instance("b", "orphan")]})
        settled = self.successResultOf(working)
        self.assertEqual(settled.exit_code, 0)
        self.assertEqual(settled.document, {"drone": "d1", "state": "drained", "away": False})

    def test_a_machine_that_is_away_is_emptied_when_it_returns(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "away")]})
        settled = self.successResultOf(bench.start(draining(bench.cluster, "d1", False)))
        self.assertEqual(settled.exit_code, 0)
        self.assertIn("saved", settled.done[0])

    def test_says_at_the_deadline_what_is_waited_for(self) -> None:
        bench = Bench(lists={ROWS: [instance("a", "draining")]})
        working = bench.start(draining(bench.cluster, "d1", True))
        bench.way.advance(11)
        settled = self.successResultOf(working)
        self.assertEqual(settled.exit_code, 3)
        self.assertIn("a on d1 (draining)", settled.undone[0])

    def test_is_used_again(self) -> None:
        bench = Bench()
        self.assertEqual(self.successResultOf(bench.start(undraining(bench.cluster, "d1"))).exit_code, 0)
        self.assertEqual(bench.hub.asked_for("DrainDrone"), [{"name": "d1", "drain": False, "force": False}])
