"""The lines of several drones as one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.log_lines import PATIENCE, Line, Source
from deployd.cli.log_merging import HOLD, MAX_HELD, Merger
from deployd.processes.records import STDOUT, Record


def source(drone: str) -> Source:
    return Source(drone, f"http-{drone}", "http", "v1")


def stamps(lines: list[Line]) -> list[int]:
    return [line.stamp for line in lines]


class MergerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.merger = Merger()
        for drone in ("d1", "d2"):
            self.merger.expect(drone)

    def tell(self, drone: str, *said: int, now: float = 0.0, behind: bool = False, data: bytes = b"x\n") -> None:
        records = [(source(drone), Record(stamp, STDOUT, data)) for stamp in said]
        self.merger.tell(drone, records, said[-1] if said else 0, behind, now)

    def test_a_line_waits_until_every_drone_has_told_of_all_before_it(self) -> None:
        self.tell("d1", 1, 3, 5)
        self.tell("d2", 2, 4)
        self.assertEqual(stamps(self.merger.take(0.0)), [1, 2, 3, 4])
        self.tell("d2", 6)
        self.assertEqual(stamps(self.merger.take(0.0)), [5])

    def test_but_not_for_long(self) -> None:
        self.tell("d2")
        self.tell("d1", 7, now=10.0)
        self.assertEqual((self.merger.take(10.0), self.merger.due()), ([], 10.0 + HOLD))
        self.assertEqual(stamps(self.merger.take(10.0 + HOLD)), [7])
        self.assertTrue(self.merger.empty)
        self.assertEqual(self.merger.due(), None)

    def test_what_is_known_to_be_there_is_waited_for_as_long_as_it_takes(self) -> None:
        self.tell("d1", 7)
        self.assertTrue(self.merger.behind)
        self.assertEqual((self.merger.take(1000.0), self.merger.due()), ([], None))
        self.tell("d2", 5, behind=True)
        self.assertEqual(stamps(self.merger.take(1000.0)), [5])
        self.tell("d2", 6, 8, now=1000.0)
        self.assertEqual(stamps(self.merger.take(1000.0)), [6, 7])

    def test_one_that_is_away_is_not_waited_for_until_it_is_back(self) -> None:
        self.tell("d1", 7)
        self.merger.lose("d2", 0.0)
        self.assertEqual(stamps(self.merger.take(0.0)), [7])
        self.merger.expect("d2")
        self.tell("d1", 9)
        self.assertEqual(self.merger.take(0.0), [])
        self.tell("d2", 8, 10)
        self.assertEqual(stamps(self.merger.take(0.0)), [8, 9])

    def test_a_line_without_end_holds_up_later_ones_for_a_while(self) -> None:
        self.tell("d1", 1, data=b"begun")
        self.tell("d2", 2, 3)
        self.tell("d1", 4, data=b", ")
        self.assertEqual(self.merger.take(0.0), [])
        self.tell("d1", 5, data=b"ended\n")
        self.assertEqual([line.text for line in self.merger.take(0.0)], [b"begun, ended", b"x", b"x"])

    def test_a_line_that_never_ends_is_shown_too(self) -> None:
        self.tell("d2", 10)
        self.tell("d1", 1, data=b"? ")
        self.assertEqual(stamps(self.merger.take(PATIENCE)), [1, 10])

    def test_the_rest_comes_at_the_end(self) -> None:
        self.tell("d1", 1, data=b"no end")
        self.tell("d2", 3)
        self.merger.lose("d1", 0.0, over=True)
        self.merger.lose("d2", 0.0, over=True)
        self.assertEqual(stamps(self.merger.take(0.0)), [1, 3])
        self.assertTrue(self.merger.all_gone)

    def test_a_drone_that_has_told_much_has_to_wait(self) -> None:
        self.tell("d1", *range(MAX_HELD))
        self.assertFalse(self.merger.has_room("d1"))
        self.assertTrue(self.merger.has_room("d2"))
        self.tell("d2", MAX_HELD)
        self.merger.take(0.0)
        self.assertTrue(self.merger.has_room("d1"))

    @given(st.data())
    def test_everything_is_shown_once_and_what_is_there_already_in_order(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, 4))
        owners = data.draw(st.lists(st.integers(0, count - 1), max_size=40))
        left = {f"d{drone}": [at for at, owner in enumerate(owners) if owner == drone] for drone in range(count)}
        merger = Merger()
        for drone in left:
            merger.expect(drone)
        shown: list[Line] = []
        while left:
            drone = data.draw(st.sampled_from(sorted(left)))
            size = data.draw(st.integers(1, 5))
            said, left[drone] = left[drone][:size], left[drone][size:]
            ends = [b"x\n" if data.draw(st.booleans()) else b"x" for _ in said]
            records = [(source(drone), Record(at, STDOUT, end)) for at, end in zip(said, ends, strict=True)]
            merger.tell(drone, records, said[-1] if said else 0, bool(left[drone]), 0.0)
            if not left[drone]:
                merger.lose(drone, 0.0, over=True)
                del left[drone]
            shown += merger.take(0.0)
        shown += merger.take(0.0)
        self.assertEqual(stamps(shown), sorted(stamps(shown)))
        self.assertEqual(sum(line.text.count(b"x") for line in shown), len(owners))
        self.assertTrue(merger.empty)

    @given(st.lists(st.tuples(st.sampled_from(("d1", "d2")), st.floats(0, 0.4)), max_size=30))
    def test_followed_lines_come_in_order_and_soon_as_long_as_links_are_quick(
        self, said: list[tuple[str, float]]
    ) -> None:
        merger = Merger()
        for drone in ("d1", "d2"):
            merger.expect(drone)
            merger.tell(drone, [], 0, False, 0.0)
        now = 1.0
        shown: list[int] = []
        for drone, pause in said:
            now += pause + 0.000001
            shown += stamps(merger.take(now))
            stamp = int(now * 1e6)
            merger.tell(drone, [(source(drone), Record(stamp, STDOUT, b"x\n"))], stamp, False, now)
            waiting = [since for _, _, since, _ in merger._lines]
            self.assertFalse([since for since in waiting if now - since > HOLD + 0.4])
        shown += stamps(merger.take(now + HOLD))
        self.assertEqual(shown, sorted(shown))
        self.assertEqual(len(shown), len(said))
