"""What the routing table says of itself: what is under way, what was counted, what is to be saved."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.revision import Revision
from deployd.model.route import LATENCIES, RouteKey
from deployd.model.router import ReleaseKey, Standing, TableItem
from deployd.router.decision import Decision
from deployd.router.table import Snapshot
from deployd.wire.codec import from_json, to_json
from deployd.wire.documents import dump, load
from tests.router.tables import Told, commit, leaving, retiring, route, row


class StandingTests(SynchronousTestCase):
    def setUp(self) -> None:
        rows = [row("http-1", port=20001), row("http-2", port=20002), row("http-3", "v2", port=20003)]
        self.table = Told(route(v1=1), route("two.example", v2=1), rows=rows)
        self.quiet = 0
        self.table.on_quiet.append(self.heard)

    def heard(self) -> None:
        self.quiet += 1

    def standing(self) -> tuple[dict[str, int], dict[str, int]]:
        standing = self.table.standing()
        return standing.busy, standing.releases

    def test_it_says_how_far_the_table_is(self) -> None:
        self.table.sent()
        self.assertEqual(self.table.standing(), Standing(Revision("hub", 1), Revision("registry", 1)))

    def test_what_is_leaving_gets_no_requests_and_is_counted(self) -> None:
        target = self.table.sent()
        self.table.delta(*leaving(target.id))
        self.assertEqual((target.gone, self.table.shut), (True, [target]))
        self.assertNotIn(target, [self.table.get() for _ in range(4)])
        self.assertEqual(self.standing(), ({target.id: 1}, {}))
        self.table.end(target)
        self.assertEqual((self.standing(), self.quiet), (({}, {}), 1))

    def test_it_is_counted_also_after_its_row_has_gone(self) -> None:
        first, second = self.table.sent(), self.table.sent()
        self.table.free(first.id)
        self.table.delta(*leaving(first.id, second.id))
        self.table.free(second.id)
        self.assertEqual(self.standing(), ({first.id: 1, second.id: 1}, {}))
        self.table.end(first)
        self.assertEqual((self.standing()[0], self.quiet), ({second.id: 1}, 1))
        self.table.end(second)
        self.assertEqual((self.standing()[0], self.quiet, len(self.table.lingering)), ({}, 2, 0))

    def test_a_row_that_comes_late_is_out_from_the_start(self) -> None:
        self.table.delta(*leaving("http-9"), *retiring("v9"))
        self.table.put(row("http-9"), row("http-8", "v9"))
        self.assertNotIn("http-9", {target.id for _ in range(6) if (target := self.table.get())})
        self.table.delta(route(v9=1), *leaving("http-9"), *retiring("v9"))
        self.assertIsNone(self.table.get())

    def test_one_that_stays_after_all_gets_requests_again(self) -> None:
        self.table.delta(*leaving("http-1"))
        self.table.delta()
        target = self.table.rows.targets["http-1"]
        self.assertIn(target, [self.table.get() for _ in range(2)])
        self.assertFalse(target.gone)

    def test_a_release_that_is_retiring_is_counted_over_all_its_targets(self) -> None:
        targets = [self.table.sent() for _ in range(3)]
        self.table.sent("two.example")
        self.table.delta(*retiring("v1"))
        self.assertEqual(self.standing(), ({}, {"shop v1": 3}))
        self.assertIsNone(self.table.get())
        self.assertIsNotNone(self.table.get("two.example"))
        for target in targets:
            self.table.end(target)
        self.assertEqual((self.standing(), self.quiet), (({}, {}), 1))

    def test_nothing_is_said_of_what_stays(self) -> None:
        target = self.table.sent()
        self.table.end(target)
        self.assertEqual((self.quiet, self.standing()), (0, ({}, {})))

    def test_the_document_tells_all_of_it(self) -> None:
        busy, bad = self.table.sent(), self.table.sent()
        self.table.failed(bad, 0.0)
        self.table.delta(*leaving(busy.id), *retiring("v2"))
        document = self.table.document()
        (first, second) = document["routes"]
        self.assertEqual(first["shares"], [{"release": "v1", "weight": 1, "percent": 100.0, "targets": 1}])
        self.assertEqual((second["host"], second["shares"][0]["targets"]), ("two.example", 0))
        targets = {target["id"]: target for pool in document["pools"] for target in pool["targets"]}
        self.assertEqual((targets[bad.id]["ejected"], targets[busy.id]["gone"]), (True, True))
        self.assertEqual(document["retiring"], [{"app": "shop", "release": "v2"}])
        dump(document)


class TallyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = Told(route(v1=1), route("two.example", v2=1))

    def answered(self, status: int, seconds: float, host: str = "shop.example") -> None:
        decision = self.table.ask(host)
        assert isinstance(decision, Decision)
        decision.count.add(status, seconds)

    def test_requests_errors_and_times_are_counted(self) -> None:
        for status, seconds in ((200, 0.004), (404, 0.005), (502, 0.3), (200, 99.0)):
            self.answered(status, seconds)
        _, (tally,) = self.table.tallies()
        self.assertEqual((tally.key, tally.release), (RouteKey("shop.example"), "v1"))
        self.assertEqual((tally.requests, tally.errors, round(tally.seconds, 3)), (4, 1, 99.309))
        self.assertEqual((len(tally.slow), tally.slow[0], tally.slow[6], tally.slow[-1]), (len(LATENCIES) + 1, 2, 1, 1))

    def test_a_reading_gives_what_has_changed_since_the_one_named(self) -> None:
        self.answered(200, 0.1)
        first, tallies = self.table.tallies()
        self.assertEqual(len(tallies), 1)
        self.answered(200, 0.1, "two.example")
        _second, tallies = self.table.tallies(first)
        self.assertEqual([tally.key.host for tally in tallies], ["two.example"])
        # The second did not arrive: what it said is said again.
        third, tallies = self.table.tallies(first)
        self.assertEqual(len(tallies), 1)
        self.assertEqual(self.table.tallies(third)[1], ())

    def test_counts_outlive_a_change_of_the_route_but_not_the_route(self) -> None:
        self.answered(200, 0.1)
        self.table.delta(route(v1=1, v2=1))
        self.answered(200, 0.1)
        self.assertEqual(self.table.tallies()[1][0].requests, 2)
        self.table.delta(TableItem(gone=RouteKey("shop.example")))
        self.assertEqual(self.table.tallies()[1], ())

    def test_any_number_of_previews_is_no_burden(self) -> None:
        self.table.delta(route(v1=1, preview=1))
        for number in range(1, 500):
            self.table.put(row("http-1", f"v{number}"))
            decision = self.table.ask(commit=commit(f"v{number}"))
            assert isinstance(decision, Decision)
            decision.count.add(200, 0.1)
        self.assertLessEqual(len(self.table.tallies()[1]), 200)


class SnapshotTests(SynchronousTestCase):
    def test_a_table_begins_as_the_one_that_was_saved(self) -> None:
        old = Told(
            route(v1=1, v2=3, sticky=1, preview=1),
            route("*", "/api", v2=1, https=1),
            *leaving("http-3"),
            *retiring("v3"),
            rows=[row(f"http-{n}", f"v{n}", port=20000 + n) for n in (1, 2, 3)],
        )
        saved = from_json(load(dump(to_json(old.snapshot()))), Snapshot)
        new = Told()
        new.restore(saved.table, saved.items, saved.registry, saved.rows)
        self.assertEqual(new.snapshot(), old.snapshot())
        self.assertEqual(new.standing(), old.standing())
        self.assertEqual(new.retiring, {ReleaseKey("shop", "v3")})
        self.assertEqual([target.id for _ in range(2) if (target := new.get(point=0.9))], ["http-2"] * 2)

    def test_nothing_saved_is_a_table_that_knows_nothing(self) -> None:
        table = Told(route(v1=1))
        never = Revision("", 0)
        table.restore(never, (), never, ())
        self.assertEqual(table.release(), "v1")
