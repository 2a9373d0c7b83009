"""Which target of a release a request gets."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from deployd.planning.ejection import PROBE
from deployd.router.decision import Decision
from deployd.router.target import Target
from tests.router.tables import Told, route, row


class TargetTests(SynchronousTestCase):
    def table_of(self, count: int) -> Told:
        return Told(route(v1=1), rows=[row(f"http-{n}", port=20000 + n) for n in range(count)])

    def test_requests_one_after_the_other_go_round(self) -> None:
        for count in (1, 2, 3, 16, 40):
            table = self.table_of(count)
            seen: Counter[str] = Counter()
            for _ in range(3 * count):
                target = table.sent()
                table.end(target)
                seen[target.id] += 1
            self.assertEqual(set(seen.values()), {3})

    def test_requests_together_spread_evenly(self) -> None:
        for count in (2, 3, 16):
            table = self.table_of(count)
            for number in range(1, 5 * count + 1):
                table.sent()
                busy = [target.in_flight for target in table.rows.targets.values()]
                self.assertLessEqual(max(busy) - min(busy), 1, (count, number))

    def test_the_least_busy_gets_the_next(self) -> None:
        table = self.table_of(5)
        for _ in range(10):
            table.sent()
        free = table.rows.targets["http-3"]
        table.end(free)
        self.assertIs(table.get(), free)

    def test_a_large_pool_is_used_evenly_though_not_all_are_compared(self) -> None:
        table = self.table_of(500)
        for _ in range(5000):
            table.sent()
        busy = [target.in_flight for target in table.rows.targets.values()]
        self.assertEqual((min(busy), max(busy)), (10, 10))

    def test_those_that_were_tried_are_not_given_again(self) -> None:
        table = self.table_of(3)
        decision = table.ask()
        assert isinstance(decision, Decision)
        tried: list[Target] = []
        for _ in range(3):
            target = decision.target(0.0, tried)
            assert target is not None
            self.assertNotIn(target, tried)
            tried.append(target)
        self.assertIsNone(decision.target(0.0, tried))

    def test_one_that_failed_is_left_alone_for_its_time(self) -> None:
        table = self.table_of(2)
        bad = table.sent()
        table.end(bad)
        table.failed(bad, 0.0)
        self.assertNotIn(bad, [table.get() for _ in range(4)])
        table.clock.advance(1.0)
        self.assertIn(bad, [table.get() for _ in range(2)])

    def test_one_that_returns_is_tried_by_one_request_before_others_follow(self) -> None:
        table = self.table_of(2)
        bad, good = table.rows.targets["http-0"], table.rows.targets["http-1"]
        table.failed(bad, 0.0)
        table.clock.advance(1.0)
        self.assertEqual([table.sent() for _ in range(10)].count(bad), 1)
        table.clock.advance(PROBE)
        self.assertEqual([table.sent() for _ in range(10)].count(bad), 1)
        table.worked(bad)
        self.assertEqual([table.sent() for _ in range(10)].count(good), 0)

    def test_those_that_fail_are_used_when_there_is_no_other(self) -> None:
        table = self.table_of(2)
        for target in table.rows.targets.values():
            table.failed(target, 0.0)
        self.assertIsNotNone(table.get())

    def test_a_burst_of_failures_is_one_failure(self) -> None:
        table = self.table_of(2)
        bad = table.rows.targets["http-0"]
        for _ in range(50):
            table.failed(bad, 0.0)
        self.assertEqual((bad.failures, bad.ejected_until), (1, 1.0))

    def test_a_probe_that_fails_counts(self) -> None:
        table = self.table_of(1)
        bad = table.rows.targets["http-0"]
        table.failed(bad, 0.0)
        table.clock.advance(1.0)
        self.assertIs(table.get(), bad)
        table.failed(bad, 1.1)
        self.assertEqual((bad.failures, bad.ejected_until), (2, 3.1))

    def test_a_row_that_says_the_same_keeps_its_target(self) -> None:
        table = self.table_of(1)
        target = table.sent()
        table.put(row("http-0", port=20000))
        self.assertIs(table.get(), target)
        self.assertEqual((target.in_flight, target.gone, table.shut), (1, False, []))

    def test_a_row_with_another_port_is_another_target(self) -> None:
        table = self.table_of(1)
        target = table.sent()
        table.put(row("http-0", port=20009))
        now = table.get()
        assert now is not None
        self.assertEqual((now.port, now.in_flight, target.gone, table.shut), (20009, 0, True, [target]))

    def test_a_target_whose_row_goes_is_closed(self) -> None:
        table = self.table_of(2)
        target = table.sent()
        table.free(target.id)
        self.assertEqual((target.gone, table.shut), (True, [target]))
        self.assertNotIn(target, [table.get() for _ in range(3)])
