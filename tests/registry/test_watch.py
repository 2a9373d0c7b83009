"""Those who wait for changes of rows, and the sessions that follow the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy, UsageError
from deployd.model.registration import Registration
from deployd.model.revision import NOW
from deployd.model.row_change import RowChange
from deployd.net.peer import Peer
from deployd.registry.filter import RowFilter
from deployd.registry.service import MAX_WATCH
from deployd.registry.waiting import LOOKED, WaitingRoom
from deployd.registry.watching import MAX_UNSEEN, MOMENT, TOGETHER, Watchers, Woken
from deployd.wire.documents import load
from deployd.wire.lookup import Follow, Query
from tests.client.network import TIMEOUT
from tests.net.test_turns import Reactor
from tests.registry.rows import OTHER, row
from tests.registry.test_sessions import SessionCase

ANY, SAY = RowFilter(), RowFilter(role="say")


def put(number: int = 1, **what: Any) -> RowChange:
    return RowChange(number, row(**what))


class WatchersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.watchers = Watchers(self.clock, limit=3, per_address=2)

    def wait(self, who: object, wanted: RowFilter = ANY, address: str = "") -> Deferred[Woken]:
        return self.watchers.wait(wanted, 10, who, address or str(who), since=0)

    def test_each_is_told_from_where_on_there_is_something_for_it(self) -> None:
        any_row, say, other = self.wait("a"), self.wait("b", RowFilter(role="say")), self.wait("c", RowFilter(OTHER))
        self.watchers.changed([put(7), put(8, role="db"), put(9, role="say")])
        self.assertEqual((self.successResultOf(any_row), self.successResultOf(say)), (Woken(6, True), Woken(8, True)))
        self.assertNoResult(other)
        self.assertEqual(self.watchers.count, 1)
        self.watchers.changed([put(10, namespace=OTHER)])
        self.assertEqual(self.successResultOf(other), Woken(9, True))
        self.assertEqual((self.watchers.count, self.clock.getDelayedCalls()), (0, []))

    def test_filters_wake_for_exactly_what_they_take(self) -> None:
        new = row(version="1.2.3", meta={"zone": "b"})
        for wanted, wakes in (
            (RowFilter.parse("http@1"), True),
            (RowFilter.parse("http@2"), False),
            (RowFilter(new.namespace[:7]), True),
            (RowFilter(app="webapp", release="v1"), True),
            (RowFilter(app="webapp", release="v2"), False),
            (RowFilter.parse("", meta={"zone": "b"}), True),
            (RowFilter.parse("", meta={"zone": "a"}), False),
        ):
            waiting = self.wait("a", wanted)
            self.watchers.changed([RowChange(4, row("x", role="db", namespace=OTHER, app="")), RowChange(5, new)])
            self.assertEqual(waiting.called, wakes, wanted)
            self.watchers.leave("a")

    def test_metadata_is_looked_at_in_every_row_of_a_kind(self) -> None:
        waiting = self.wait("a", RowFilter.parse("http", meta={"zone": "b"}))
        self.watchers.changed([put(1), put(2, row_id="b", meta={"zone": "b"})])
        self.assertEqual(self.successResultOf(waiting), Woken(1, True))

    def test_only_so_many_wait_and_each_once(self) -> None:
        self.wait("a")
        with self.assertRaises(Busy):
            self.wait("a")
        self.wait("b", address="a")
        with self.assertRaises(Busy):
            self.wait("c", address="a")
        self.wait("c")
        with self.assertRaises(Busy):
            self.wait("d")
        self.watchers.leave("a")
        self.wait("d")

    def test_time_and_leaving_end_the_wait(self) -> None:
        late, gone = self.wait("a", RowFilter(role="db")), self.wait("b")
        self.watchers.leave("b")
        self.watchers.changed([put(5)])
        self.clock.advance(10)
        # Nothing up to there was for it.
        self.assertEqual(self.successResultOf(late), Woken(5, False))
        self.assertEqual(self.successResultOf(gone), Woken(0, False))
        self.watchers.leave("nobody")

    def test_whoever_is_woken_may_wait_again_at_once(self) -> None:
        again: list[Deferred[Woken]] = []
        self.wait("a").addCallback(lambda _: again.append(self.wait("a")))
        self.watchers.changed([put()])
        self.assertNoResult(again[0])

    def test_closing_answers_all(self) -> None:
        waiting = self.wait("a")
        self.watchers.close()
        self.assertEqual(self.successResultOf(waiting), Woken(0, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_very_many_are_answered_in_several_turns_and_all_at_once_at_the_end(self) -> None:
        watchers = Watchers(self.clock)
        for end in (lambda: self.clock.pump([0] * 10), watchers.close):
            waits = [watchers.wait(ANY, 10, number, "a", since=0) for number in range(100)]
            watchers.changed([put(1)])
            watchers.changed([put(2)])
            self.assertEqual([wait.called for wait in waits], [True] * TOGETHER + [False] * (100 - TOGETHER))
            self.assertEqual(watchers.count, 0)
            end()
            self.assertEqual([self.successResultOf(wait) for wait in waits], [Woken(0, True)] * 100)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whom_changes_concern_is_found_out_by_and_by(self) -> None:
        """A thousand filters are held against many changes, and meanwhile the reactor comes around."""
        clock = Reactor()
        watchers = Watchers(clock)
        for number in range(1000):
            watchers.wait(RowFilter(role="http", app=f"a{number}"), 1000, number, "a")
        wanted = watchers.wait(RowFilter(role="http", release="v9"), 1000, "b", "a")
        clock.passing = MOMENT / 2
        watchers.changed([*[put(n, version=f"1.0.{n}") for n in range(1, 30)], put(30, release="v9")])
        self.assertNoResult(wanted)
        # Whoever comes now has seen the change already.
        late = watchers.wait(RowFilter(role="http", release="v9"), 1000, "c", "a", since=30)
        turns = 0
        while not wanted.called:
            clock.turn()
            turns += 1
        self.assertEqual(self.successResultOf(wanted), Woken(29, True))
        self.assertTrue(100 < turns < 300, turns)
        self.assertNoResult(late)
        watchers.changed([put(31, release="v9")])
        while not late.called:
            clock.turn()
        self.assertEqual(self.successResultOf(late), Woken(30, True))
        watchers.close()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_whose_time_is_over_before_it_is_found_out_looks_for_itself(self) -> None:
        """Else it would go on behind a change that it wants."""
        for end in (lambda watchers: watchers.leave("b"), lambda watchers: watchers.close()):
            clock = Reactor()
            watchers = Watchers(clock)
            for number in range(1000):
                watchers.wait(RowFilter(role="http", app=f"a{number}"), 1000, number, "a")
            late = watchers.wait(RowFilter(role="http", release="v9"), 10, "b", "a", since=0)
            clock.passing = MOMENT
            watchers.changed([*[put(n, version=f"1.0.{n}") for n in range(1, 30)], put(30, release="v9")])
            self.assertNoResult(late)
            end(watchers)
            self.assertEqual(self.successResultOf(late), Woken(0, False))
            watchers.close()
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_who_is_too_far_behind_finds_out_for_itself(self) -> None:
        clock = Reactor()
        watchers = Watchers(clock)
        waits = [watchers.wait(RowFilter(app=f"a{n}"), 1000, n, "a", since=n) for n in range(200)]
        clock.passing = MOMENT
        for start in range(0, MAX_UNSEEN + 2000, 1000):
            watchers.changed([put(start + n + 1, version=f"1.{n}.0") for n in range(1000)])
        for _ in range(400):
            clock.turn()
        self.assertEqual([self.successResultOf(wait) for wait in waits], [Woken(n, True) for n in range(200)])
        watchers.close()
        self.assertEqual(clock.getDelayedCalls(), [])


class WaitingRoomTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.room = WaitingRoom(self.clock, per_address=2, limit=3)

    def find(
        self, rows: Sequence[Registration | None] = (), wanted: RowFilter = SAY, address: str = "a"
    ) -> Deferred[bool]:
        """Among these, or later; None is one that is not wanted."""

        def places(after: str) -> Iterator[tuple[str, Registration | None]]:
            return ((str(at), rows[at]) for at in range(int(after or -1) + 1, len(rows)))

        return Deferred.fromCoroutine(self.room.find(places, wanted, 10, address))

    def test_is_left_when_a_row_is_put_and_not_when_one_is_freed(self) -> None:
        waiting = self.find(wanted=RowFilter(role="http"))
        self.room.changed([RowChange(1, row(), freed=True), put(2, role="say")])
        self.assertNoResult(waiting)
        self.room.changed([put(3)])
        self.assertTrue(self.successResultOf(waiting))

    def test_is_left_after_the_time_and_when_nobody_waits_any_more(self) -> None:
        late, cancelled = self.find(), self.find()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.assertEqual(self.room.count, 1)
        self.clock.advance(10)
        self.assertFalse(self.successResultOf(late))
        self.assertEqual((self.room.count, self.clock.getDelayedCalls()), (0, []))

    def test_many_rows_are_looked_through_in_several_turns(self) -> None:
        for last in (row("x"), None):
            found = last is not None
            finding = self.find([*[None] * 3 * LOOKED, last])
            self.assertNoResult(finding)
            self.clock.pump([0] * 5)
            self.assertEqual(finding.called, found)
            self.clock.advance(10)
            self.assertEqual((self.successResultOf(finding), self.room.count), (found, 0))

    def test_what_is_put_meanwhile_is_found(self) -> None:
        finding = self.find([None] * 3 * LOOKED)
        self.room.changed([put(1, role="say")])
        self.clock.advance(0)
        self.assertTrue(self.successResultOf(finding))

    def test_who_gives_up_is_not_looked_for_any_more(self) -> None:
        finding = self.find([None] * 3 * LOOKED)
        finding.cancel()
        self.failureResultOf(finding, CancelledError)
        self.clock.advance(0)
        self.assertEqual((self.room.count, self.clock.getDelayedCalls()), (0, []))

    def test_is_bounded(self) -> None:
        waits = [self.find() for _ in range(2)]
        self.failureResultOf(self.find(), Busy)
        waits.append(self.find(address="b"))
        self.failureResultOf(self.find(address="c"), Busy)
        self.room.close()
        self.assertEqual([self.successResultOf(wait) for wait in waits], [False] * 3)


class FollowTests(SessionCase):
    def follow(self, peer: Peer, position: str = "", wait: float = 30.0, **wanted: str) -> Deferred[Any]:
        asked = dict.fromkeys(("match", "namespace", "app", "release"), "") | wanted
        called = peer.call(Follow, timeout=100.0, position=position, wait=wait, **asked)
        self.network.flush()
        return called

    def page(self, *asked: Any, **wanted: Any) -> tuple[list[tuple[str, str]], dict[str, Any]]:
        """What an answer says of which row, and all of it."""
        answer = self.successResultOf(self.follow(*asked, **wanted))
        return told(answer), answer

    def start(self, **wanted: str) -> tuple[Peer, str]:
        peer = self.network.session("read", secret=None)
        lines, answer = self.page(peer, **wanted)
        self.assertEqual(lines[0], ("reset", ""))
        return peer, answer["position"]

    def test_a_change_wakes_whoever_follows_at_once(self) -> None:
        owner = self.owner()
        peer, position = self.start()
        following = self.follow(peer, position)
        revision = self.publish(owner, row("a"), row("b"))
        answer = self.successResultOf(following)
        self.assertEqual(told(answer), [("put", "a"), ("put", "b")])
        self.assertEqual((answer["whole"], answer["revision"]), (True, revision))
        self.update(owner, free=("a",))
        lines, answer = self.page(peer, answer["position"])
        self.assertEqual(lines, [("delete", "a")])
        self.assertEqual(lines_of(answer)[0]["row"]["port"], 20001)

    def test_who_begins_now_is_told_only_what_comes(self) -> None:
        owner = self.owner()
        revision = self.publish(owner, row("a"))
        peer = self.network.session("read", secret=None)
        lines, answer = self.page(peer, "now", 0.0)
        self.assertEqual((lines, answer["position"]), ([], f"{revision.epoch}.{revision.number}"))
        following = self.follow(peer, "now")
        self.update(owner, (row("b"),))
        self.assertEqual(told(self.successResultOf(following)), [("put", "b")])

    def test_what_others_want_wakes_nobody(self) -> None:
        owner = self.owner()
        self.publish(owner)
        peer, position = self.start(match="say")
        following = self.follow(peer, position, match="say")
        self.update(owner, (row("a"), row("b", role="db")))
        self.assertNoResult(following)
        self.update(owner, (row("c", role="say"),))
        self.assertEqual(told(self.successResultOf(following)), [("put", "c")])

    def test_a_row_that_changes_its_role_goes_for_some_and_comes_for_others(self) -> None:
        owner = self.owner()
        self.publish(owner, row("a"))
        http, at_http = self.start(match="http")
        say, at_say = self.start(match="say")
        self.update(owner, (row("a", role="say"),))
        self.assertEqual(self.page(http, at_http, match="http")[0], [("delete", "a")])
        self.assertEqual(self.page(say, at_say, match="say")[0], [("put", "a")])

    def test_a_row_that_falls_is_a_change(self) -> None:
        owner = self.owner()
        self.publish(owner, row("a"))
        peer, position = self.start()
        owner.transport.loseConnection()
        self.network.flush()
        self.assertEqual(self.page(peer, position, 0.0)[0], [])
        self.network.advance(TIMEOUT + 1)
        self.assertEqual(self.page(peer, position)[0], [("delete", "a")])

    def test_without_a_change_it_answers_when_the_time_is_over(self) -> None:
        for wait, passed in ((5.0, 5.0), (1e9, MAX_WATCH), (float("inf"), MAX_WATCH)):
            peer, position = self.start()
            following = self.follow(peer, position, wait)
            self.network.advance(passed - 1)
            self.assertNoResult(following)
            self.network.advance(1)
            answer = self.successResultOf(following)
            self.assertEqual((told(answer), answer["position"], answer["whole"]), ([], position, True))

    def test_no_time_is_an_answer_at_once(self) -> None:
        peer, position = self.start()
        for wait in (0.0, -1.0, float("nan"), float("-inf")):
            self.assertEqual(self.page(peer, position, wait)[0], [])

    def test_one_at_a_time(self) -> None:
        peer, position = self.start()
        first = self.follow(peer, position)
        self.failureResultOf(self.follow(peer, position), Busy)
        self.network.advance(MAX_WATCH)
        self.successResultOf(first)
        self.follow(peer, position)

    def test_a_session_that_ends_leaves_its_place(self) -> None:
        watchers = Watchers(self.network.clock, limit=1)
        self.network.registry._watchers = watchers
        peer, position = self.start()
        self.follow(peer, position).addErrback(lambda _: None)
        other, _ = self.start()
        self.failureResultOf(self.follow(other, position), Busy)
        peer.transport.loseConnection()
        self.network.flush()
        self.assertEqual(watchers.count, 0)
        self.assertNoResult(self.follow(other, position))

    def test_who_is_gone_waits_for_nothing(self) -> None:
        peer = self.network.session("read", secret=None)
        asked = dict.fromkeys(("namespace", "app", "release", "near", "after"), "")
        for _ in range(2):
            waiting = peer.call(Query, timeout=100.0, match="nobody", meta={}, wait=60.0, **asked)
            waiting.addErrback(lambda _: None)
        self.follow(peer, NOW).addErrback(lambda _: None)
        figures = self.network.registry.figures()
        self.assertEqual((figures["waiters"], figures["watchers"]), (2, 1))
        peer.transport.loseConnection()
        self.network.flush()
        figures = self.network.registry.figures()
        self.assertEqual((figures["waiters"], figures["watchers"]), (0, 0))

    def test_many_changes_come_whole_and_in_order(self) -> None:
        owner = self.owner()
        peer, position = self.start()
        self.publish(owner, *(row(f"r{number:04}") for number in range(150)))
        many = tuple(row(f"r{number:04}", port=2) for number in range(150))
        for start in range(0, 150, 50):
            self.update(owner, put=many[start : start + 50])
        lines: list[dict[str, Any]] = []
        while len(lines) < 300:
            _, answer = self.page(peer, position)
            lines += lines_of(answer)
            position = answer["position"]
        plain = [(f"r{number:04}", port) for port in (20001, 2) for number in range(150)]
        self.assertEqual([(line["row"]["id"], line["row"]["port"]) for line in lines], plain)
        self.assertEqual([line["revision"] for line in lines], list(range(1, 301)))
        ends = [line["revision"] for line in lines if "more" not in line]
        self.assertEqual(ends, [150, 200, 250, 300])

    def test_a_registry_that_stops_answers_whoever_follows(self) -> None:
        peer, position = self.start()
        following = self.follow(peer, position)
        self.network.registry.stopService()
        self.network.flush()
        self.assertEqual(told(self.successResultOf(following)), [])

    def test_words_that_are_no_filter_are_refused(self) -> None:
        peer = self.network.session("read", secret=None)
        for match in ("a b", "http@1.2.3.4", "@1"):
            self.failureResultOf(self.follow(peer, match=match), UsageError)


def lines_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    lines = answer["lines"]
    return load(lines) if isinstance(lines, bytes) else lines  # type: ignore[no-any-return]


def told(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(line["type"], line["row"]["id"] if line["row"] else "") for line in lines_of(answer)]
