"""Several workers as one: where they stand together, and what they have counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.revision import Revision
from deployd.model.route import RouteKey, Tally
from deployd.model.router import Standing
from deployd.router.sums import Sums, added, together

KEY = RouteKey("shop.example")


def at(number: int, epoch: str = "e") -> Revision:
    return Revision(epoch, number)


def standing(table: Revision, registry: Revision | None = None, **busy: int) -> Standing:
    return Standing(table, registry or at(1), busy, {})


def tally(requests: int, release: str = "v1", key: RouteKey = KEY) -> Tally:
    return Tally(key, release, requests, requests // 2, requests * 0.25, (requests, 0))


class TogetherTests(SynchronousTestCase):
    def test_nobody_is_further_than_the_last_of_them(self) -> None:
        found = together(standing(at(9), at(5)), [standing(at(9), at(3)), standing(at(7), at(5))])
        self.assertEqual((found.table, found.registry), (at(7), at(3)))

    def test_a_worker_in_an_older_epoch_holds_all_up(self) -> None:
        old, new = at(900, "old"), at(2, "new")
        for order in ([old, new], [new, old]):
            self.assertEqual(together(standing(new), [standing(each) for each in order]).table, old)

    def test_what_is_busy_is_added_up(self) -> None:
        found = together(standing(at(1)), [standing(at(1), x=2), standing(at(1), x=1, y=1), standing(at(1))])
        self.assertEqual(found.busy, {"x": 3, "y": 1})

    def test_without_workers_it_is_what_they_would_be_told(self) -> None:
        self.assertEqual(together(standing(at(4)), []), standing(at(4)))

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    def test_the_order_of_workers_does_not_matter(self, numbers: list[int]) -> None:
        workers = [standing(at(number)) for number in numbers]
        for each in (workers, workers[::-1]):
            self.assertEqual(together(standing(at(9)), each).table, at(min(numbers)))


class SumsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sums = Sums()

    def test_workers_are_added_up(self) -> None:
        one, other = self.sums.worker(), self.sums.worker()
        one.take([tally(4)])
        other.take([tally(2), tally(6, "v2")])
        self.assertEqual(set(self.sums.read(0)[1]), {tally(6), tally(6, "v2")})

    def test_what_the_dead_have_counted_stays(self) -> None:
        one, other = self.sums.worker(), self.sums.worker()
        one.take([tally(4)])
        other.take([tally(2)])
        one.ended()
        self.sums.worker().take([tally(10)])
        self.assertEqual(self.sums.read(0)[1], (tally(16),))

    def test_only_what_has_changed_since_a_reading_is_read(self) -> None:
        worker = self.sums.worker()
        worker.take([tally(4), tally(2, "v2")])
        number, _ = self.sums.read(0)
        self.assertEqual(self.sums.read(number)[1], ())
        worker.take([tally(6)])
        self.assertEqual(self.sums.read(number)[1], (tally(6),))

    def test_a_route_that_is_no_more_is_forgotten(self) -> None:
        other = RouteKey("other.example")
        one, dead = self.sums.worker(), self.sums.worker()
        one.take([tally(4), tally(2, key=other)])
        dead.take([tally(4)])
        dead.ended()
        self.sums.forget([KEY])
        self.assertEqual(self.sums.read(0)[1], (tally(2, key=other),))

    def test_a_tally_without_latencies_is_no_trouble(self) -> None:
        bare = Tally(KEY, "v1", 2)
        self.assertEqual(added(bare, tally(4)).slow, (4, 0))
        self.assertEqual(added(bare, bare).slow, ())

    def test_statuses_are_added_by_class(self) -> None:
        one, other = (Tally(KEY, "v1", count, classes=(0, count, 0, 0, 1)) for count in (2, 3))
        self.assertEqual(added(one, other).classes, (0, 5, 0, 0, 2))
