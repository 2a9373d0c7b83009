"""Logs of several drones through the hub."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.log_lines import PATIENCE as UNENDED
from deployd.cli.log_lines import Line
from deployd.cli.log_merging import HOLD, MAX_HELD
from deployd.cli.log_reading import AWAY, GIVE_UP, NEWCOMERS, PATIENCE, Asked, LogReader
from deployd.errors import UnknownApp, Unreachable
from tests.cli.scripted_drones import FakeDrone, TalkingBench


class Case(SynchronousTestCase):
    drones: tuple[str, ...] = ("d1", "d2")

    def setUp(self) -> None:
        self.bench = TalkingBench(*self.drones)
        self.d1, self.d2 = self.bench.drones["d1"], self.bench.drones["d2"]
        self.lines: list[Line] = []
        self.notes: list[str] = []
        self.held: Deferred[None] | None = None

    async def show(self, lines: list[Line]) -> None:
        self.lines += lines
        if self.held is not None:
            await self.held

    def read(self, app: str = "webapp", **asked: Any) -> Deferred[None]:
        self.reader = LogReader(
            self.bench.cluster,
            Asked(app, **asked),
            self.show,
            self.notes.append,
            lambda: 1000 + self.bench.clock.seconds(),
        )
        reading = self.bench.start(self.reader.run())
        self.addCleanup(self.end, reading)
        return reading

    def end(self, reading: Deferred[None]) -> None:
        """Whoever follows does so until somebody ends it."""
        reading.cancel()
        reading.addErrback(lambda failure: failure.trap(CancelledError))
        self.bench.way.flush()

    def advance(self, seconds: float) -> None:
        self.bench.way.advance(seconds)

    @property
    def texts(self) -> list[str]:
        return [line.text.decode() for line in self.lines]

    def asked(self) -> dict[str, Any]:
        return self.bench.hub.asked_for("Logs")[0]


class ReadingTests(Case):
    def test_all_that_was_printed_is_told_in_the_order_of_time(self) -> None:
        for stamp in range(1, 10):
            (self.d1 if stamp % 3 else self.d2).print(stamp, f"{stamp}\n")
        self.successResultOf(self.read())
        self.assertEqual(self.texts, [str(stamp) for stamp in range(1, 10)])
        self.assertEqual({line.source.drone for line in self.lines}, {"d1", "d2"})

    def test_only_the_newest_are_shown(self) -> None:
        for stamp in range(1, 10):
            (self.d1 if stamp % 3 else self.d2).print(stamp, f"{stamp}\n")
        self.successResultOf(self.read(newest=4))
        self.assertEqual(self.texts, ["6", "7", "8", "9"])
        self.assertEqual((self.asked()["after"], self.asked()["newest"]), (-1, 4))

    def test_or_all_since_a_time(self) -> None:
        for stamp in range(1, 6):
            self.d1.print(stamp * 1_000_000, f"{stamp}\n")
        self.successResultOf(self.read(newest=None, since=3.0))
        self.assertEqual(self.texts, ["3", "4", "5"])

    def test_drones_that_have_much_to_tell_make_room_for_each_other(self) -> None:
        half = "line\n" * (MAX_HELD // 2 + 1)
        for stamp in range(1, 21):
            self.d1.print(2 * stamp, half)
            self.d2.print(2 * stamp + 1, half)
        self.held = Deferred()
        reading = self.read(newest=None, since=0.0)
        self.held.callback(None)
        self.bench.way.flush()
        self.successResultOf(reading)
        self.assertEqual(len(self.lines), 40 * (MAX_HELD // 2 + 1))

    def test_one_that_prints_on_as_fast_as_it_is_read_is_read_to_where_it_was(self) -> None:
        self.d2.away = True
        for stamp in range(1, 10):
            self.d1.print(stamp, f"{stamp}\n")
        self.d1.chatty = True
        self.successResultOf(self.read(newest=None, since=0.0))
        self.assertEqual(self.texts[:9], [str(stamp) for stamp in range(1, 10)])
        self.assertLess(len(self.texts), 50)

    def test_only_what_is_asked_for_is_read(self) -> None:
        self.d2.print(1, "no end")
        self.successResultOf(self.read(drones=("d2",), commit="v1", role="http"))
        self.assertEqual(self.texts, ["no end"])
        self.assertEqual(
            (self.asked()["drone"], self.asked()["releases"], self.asked()["role"]), ("d2", ["v1"], "http")
        )

    def test_nothing_at_all_is_fine(self) -> None:
        self.successResultOf(self.read())
        self.assertEqual((self.lines, self.reader.shown), ([], 0))

    def test_one_that_is_away_is_named_and_the_others_are_shown(self) -> None:
        self.d2.away = True
        self.d1.print(1, "one\n")
        self.successResultOf(self.read())
        self.assertEqual((self.texts, self.notes), (["one"], ["d2 is not connected to the hub"]))

    def test_an_error_of_the_hub_is_the_end(self) -> None:
        self.failureResultOf(self.read("nope"), UnknownApp)

    def test_a_hub_that_is_not_there_is_an_error_at_once(self) -> None:
        self.bench.way.up = False
        self.failureResultOf(self.read(), Unreachable)

    def test_a_hub_that_goes_away_meanwhile_is_waited_for_a_while(self) -> None:
        self.d1.print(1, "one\n")
        self.d1.stuck = True
        back = self.read()
        self.bench.way.up = False
        self.bench.way.cut()
        self.advance(3)
        self.d1.stuck, self.bench.way.up = False, True
        self.advance(3)
        self.successResultOf(back)
        self.assertEqual((self.texts, len(self.notes)), (["one"], 1))
        self.d1.stuck = True
        lost = self.read()
        self.bench.way.up = False
        self.bench.way.cut()
        self.advance(GIVE_UP + 5)
        self.failureResultOf(lost, Unreachable)


class FollowingTests(Case):
    def follow(self, **asked: Any) -> None:
        self.following = self.read(follow=True, **asked)
        self.addCleanup(lambda: self.following.addErrback(lambda _: None).cancel())

    def print(self, drone: FakeDrone, stamp: int, text: str) -> None:
        drone.print(stamp, text)
        self.bench.change()

    def test_what_is_printed_is_told_in_order_and_soon(self) -> None:
        self.d1.print(1, "old\n")
        self.follow()
        self.assertEqual(self.texts, ["old"])
        self.advance(0.3)
        self.print(self.d1, 11, "two\n")
        self.print(self.d2, 10, "one\n")
        self.assertEqual(self.texts, ["old", "one"])
        self.advance(HOLD + 0.4)
        self.assertEqual(self.texts, ["old", "one", "two"])

    def test_none_of_the_old_lines_need_be_shown(self) -> None:
        self.d1.print(1, "old\n")
        self.follow(newest=0)
        self.print(self.d1, 2, "new\n")
        self.advance(HOLD + 0.4)
        self.assertEqual(self.texts, ["new"])

    def test_a_line_without_end_is_shown_after_a_while(self) -> None:
        self.follow()
        self.print(self.d1, 2, "name? ")
        self.advance(UNENDED + HOLD + 0.4)
        self.assertEqual(self.texts, ["name? "])

    def test_what_is_told_while_lines_are_shown_is_shown_then(self) -> None:
        self.follow()
        self.held = Deferred()
        self.print(self.d1, 1, "one\n")
        self.advance(HOLD + 0.4)
        self.print(self.d1, 2, "two\n")
        self.print(self.d2, 3, "three\n")
        self.advance(HOLD + 0.4)
        self.assertEqual(self.texts, ["one"])
        held, self.held = self.held, None
        held.callback(None)
        self.assertEqual(self.texts, ["one", "two", "three"])

    def test_it_goes_on_over_a_lost_hub_without_loss_or_repetition(self) -> None:
        self.follow()
        for stamp in range(1, 31):
            self.print(self.d1 if stamp % 2 else self.d2, stamp, f"{stamp}\n")
            if stamp == 10:
                self.bench.way.up = False
                self.bench.way.drop()
            if stamp == 20:
                self.advance(3)
                self.bench.way.up = True
            # The second time so soon that it is one outage.
            if stamp in (25, 27):
                self.bench.way.cut()
            self.advance(0.3)
        self.advance(6)
        self.assertEqual(sorted(self.texts, key=int), [str(stamp) for stamp in range(1, 31)])
        self.assertEqual(len(self.notes), 2, self.notes)
        self.assertIn("going on when the hub is back", self.notes[0])

    def test_a_drone_that_goes_and_returns_goes_on_where_it_was(self) -> None:
        self.follow()
        self.print(self.d2, 1, "one\n")
        self.advance(HOLD + 0.4)
        self.d2.away = True
        self.bench.change()
        self.print(self.d1, 2, "two\n")
        self.assertEqual(self.texts, ["one", "two"], "nobody waits for it")
        self.assertEqual(self.notes, [])
        self.advance(PATIENCE + 2 * AWAY)
        self.assertEqual(self.notes, ["d2 is not connected to the hub; its lines follow when it is back"])
        self.advance(PATIENCE * 3)
        self.d2.away = False
        self.print(self.d2, 3, "three\n")
        self.advance(AWAY + HOLD + 0.2)
        self.assertEqual(self.texts, ["one", "two", "three"])
        self.assertEqual(len(self.notes), 1)

    def test_one_that_is_away_from_the_start_is_named_at_once(self) -> None:
        self.d2.away = True
        self.follow()
        self.assertEqual(len(self.notes), 1)
        self.d2.away = False
        self.d2.print(1, "one\n")
        self.advance(AWAY + HOLD + 0.2)
        self.assertEqual(self.texts, ["one"])

    def test_a_drone_that_is_new_is_followed_too(self) -> None:
        self.follow()
        self.advance(1)
        self.bench.drones["d3"] = fake = FakeDrone()
        fake.print(1, "long ago\n")
        fake.print(int(2e9), "now\n")
        self.advance(NEWCOMERS + HOLD + 0.2)
        self.assertEqual(self.texts, ["now"])

    def test_nobody_is_asked_all_the_time(self) -> None:
        self.follow()
        self.advance(5)
        self.assertLess(len(self.bench.hub.asked_for("Logs")), 6)


class ManyTests(Case):
    drones = tuple(f"d{number}" for number in range(1, 80))

    def test_many_drones_are_read_though_a_session_may_not_ask_for_much_at_once(self) -> None:
        for number, drone in enumerate(self.bench.drones.values()):
            drone.print(number + 1, f"{number}\n")
        following = self.read(follow=True, newest=1000)
        self.assertEqual(len(self.lines), len(self.drones))
        for number, drone in enumerate(self.bench.drones.values()):
            drone.print(number + 1000, f"{number}\n")
        self.advance(5)
        self.assertEqual(len(self.lines), 2 * len(self.drones))
        self.assertNoResult(following)
