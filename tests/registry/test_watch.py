"""The history of the book's changes, and the sessions that follow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy, DeploydError
from deployd.model.revision import Revision
from deployd.net.peer import Peer
from deployd.registry.book import Book, Change, Seat
from deployd.registry.history import History, Page
from deployd.registry.service import MAX_WATCH
from deployd.registry.watching import Watchers
from deployd.wire.lookup import Watch
from tests.registry.rows import row
from tests.registry.test_sessions import SessionCase

TIMEOUT = 45.0
OWNERS = ("alice", "bob")


class Follower:
    """Rows as somebody has them who knows only pages, and lists when told to."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.position = ""
        self.resets = 0
        self.seen: list[Page] = []

    def sync(self, history: History, listed: Callable[[], dict[str, int]]) -> Revision:
        while True:
            page = history.after(self.position)
            self.seen.append(page)
            if page.reset:
                assert not page.changes
                self.rows, self.resets = listed(), self.resets + 1
            for change in page.changes:
                if "delete" in change:
                    # Gapless and without repeats: nothing goes that is not there.
                    del self.rows[change["delete"]]
                else:
                    self.rows[change["put"]["id"]] = change["put"]["port"]
            self.position = page.position
            if not page.reset and not page.changes:
                return page.revision


class World:
    """A book with its history; operations are numbers, so that Hypothesis can think of them."""

    def __init__(self, **bounds: int) -> None:
        self.epochs = 0
        self.bounds = bounds
        self.now = 0.0
        self.renew()

    def renew(self) -> None:
        self.epochs += 1
        self.book = Book(f"an.epoch.{self.epochs}")
        self.history = History(self.book.revision, **self.bounds)
        self.seats: dict[str, Seat] = {}

    def table(self) -> dict[str, int]:
        return {one.id: one.port for one in self.book.rows()}

    def do(self, what: str, owner: str, ports: dict[str, int]) -> None:
        self.now += 1
        try:
            change = self._do(what, owner, ports)
        except DeploydError:
            return
        if change is not None:
            self.history.add(change)

    def _do(self, what: str, owner: str, ports: dict[str, int]) -> Change | None:
        if what == "renew":
            self.renew()
        elif what == "expire":
            self.now += TIMEOUT
            return self.book.expire(self.now, TIMEOUT)
        elif what == "attach" or owner not in self.seats:
            self.seats[owner] = self.book.attach(owner, owner, "127.0.0.1", True, self.now)
        elif what == "lose":
            self.book.lose(self.seats[owner], self.now)
        elif what == "leave":
            return self.book.leave(self.seats[owner])
        else:
            rows = [row(f"{owner}-{name}", port) for name, port in ports.items() if port]
            if what == "publish":
                return self.book.publish(self.seats[owner], rows)
            gone = [f"{owner}-{name}" for name, port in ports.items() if not port]
            return self.book.update(self.seats[owner], rows, gone)
        return None


operations = st.tuples(
    st.sampled_from(["attach", "publish", "update", "update", "update", "lose", "leave", "expire", "renew", "sync"]),
    st.sampled_from(OWNERS),
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 4), max_size=8),
)


class HistoryTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(operations, max_size=40),
        st.sampled_from([1, 3, 10, 1000]),
        st.sampled_from([1, 700, 1000, 100_000]),
        st.sampled_from([700, 3000, 10**6]),
    )
    def test_who_follows_has_the_books_rows_after_each_sync(
        self, done: list[tuple[str, str, dict[str, int]]], max_changes: int, page_bytes: int, max_bytes: int
    ) -> None:
        world = World(max_changes=max_changes, page_bytes=page_bytes, max_bytes=max_bytes)
        follower = Follower()
        for what, owner, ports in [*done, ("sync", "", {})]:
            if what != "sync":
                world.do(what, owner, ports)
                continue
            self.assertEqual(follower.sync(world.history, world.table), world.book.revision)
            self.assertEqual(follower.rows, world.table())

    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(operations.filter(lambda one: one[0] != "renew"), max_size=30), st.sampled_from([1, 700, 1500, 10**5])
    )
    def test_a_page_is_complete_up_to_the_revision_that_it_names(
        self, done: list[tuple[str, str, dict[str, int]]], page_bytes: int
    ) -> None:
        world = World(page_bytes=page_bytes)
        tables = {0: world.table()}
        for one in done:
            world.do(*one)
            tables[world.book.revision.number] = world.table()
        follower, position, number = Follower(), world.history.after("").position.rpartition(".")[0] + ".0", 0
        while True:
            page = world.history.after(position)
            self.assertFalse(page.reset)
            for change in page.changes:
                if "delete" in change:
                    del follower.rows[change["delete"]]
                else:
                    follower.rows[change["put"]["id"]] = change["put"]["port"]
            if page.revision.number > number or not page.changes:
                number = page.revision.number
                self.assertEqual(follower.rows, tables[number])
            if not page.changes:
                break
            position = page.position
        self.assertEqual(number, world.book.revision.number)

    def test_positions_that_nobody_gave_are_answered_with_a_reset(self) -> None:
        world = World()
        end = world.history.position
        for position in ("", "x", "an.epoch.1", "an.epoch.1.", "an.epoch.1.1", "an.epoch.2.0", "an.epoch.1.-1",
                         "an.epoch.1.²", "an.epoch.1." + "9" * 5000, "an.epoch.1. 0"):  # fmt: skip
            page = world.history.after(position)
            self.assertEqual((page.reset, page.changes, page.position), (True, (), end), position)
        self.assertFalse(world.history.after(end).reset)

    def test_what_changed_nothing_and_what_only_marks_is_no_change(self) -> None:
        world = World()
        world.do("attach", "alice", {})
        world.do("publish", "alice", {"a": 1})
        end = world.history.position
        world.do("publish", "alice", {"a": 1})
        world.do("lose", "alice", {})
        self.assertEqual(world.history.position, end)

    def test_metadata_counts_in_the_bound_of_bytes(self) -> None:
        history = History(Revision("e", 0), max_bytes=20_000)
        for number in range(1, 50):
            change = Change(Revision("e", number), (row(f"r{number}", meta={"k": "v" * 4000}),))
            history.add(change)
        self.assertTrue(history.after("e.44").reset)
        self.assertEqual(len(history.after("e.45").changes), 4)


class WatchersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.watchers = Watchers(self.clock, limit=2)

    def test_many_changes_of_one_turn_wake_once(self) -> None:
        waiting = self.watchers.wait(10, "a")
        self.watchers.changed()
        self.watchers.changed()
        self.assertNoResult(waiting)
        self.assertEqual(len([call for call in self.clock.getDelayedCalls() if call.getTime() == 0]), 1)
        self.clock.advance(0)
        self.successResultOf(waiting)
        self.assertEqual((self.watchers.count, self.clock.getDelayedCalls()), (0, []))

    def test_only_so_many_wait_and_each_once(self) -> None:
        self.watchers.wait(10, "a")
        with self.assertRaises(Busy):
            self.watchers.wait(10, "a")
        self.watchers.wait(10, "b")
        with self.assertRaises(Busy):
            self.watchers.wait(10, "c")
        self.watchers.leave("a")
        self.watchers.wait(10, "c")

    def test_whoever_is_woken_may_wait_again_at_once(self) -> None:
        again: list[Deferred[None]] = []
        self.watchers.wait(10, "a").addCallback(lambda _: again.append(self.watchers.wait(10, "a")))
        self.watchers.changed()
        self.clock.advance(0)
        self.assertNoResult(again[0])

    def test_closing_answers_all(self) -> None:
        waiting = self.watchers.wait(10, "a")
        self.watchers.changed()
        self.watchers.close()
        self.successResultOf(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WatchTests(SessionCase):
    def watch(self, peer: Peer, position: str = "", wait: float = 30.0) -> Deferred[Any]:
        called = peer.call(Watch, timeout=100.0, position=position, wait=wait)
        self.network.flush()
        return called

    def start(self) -> tuple[Peer, str]:
        peer = self.network.session("read", secret=None)
        page = self.successResultOf(self.watch(peer))
        self.assertTrue(page["reset"])
        return peer, page["position"]

    def test_a_change_wakes_whoever_watches_in_the_next_turn(self) -> None:
        owner = self.owner()
        peer, position = self.start()
        watching = self.watch(peer, position)
        revision = self.publish(owner, row("a"), row("b"))
        self.assertNoResult(watching)
        self.network.advance(0.01)
        page = self.successResultOf(watching)
        self.assertEqual([change["put"]["id"] for change in page["changes"]], ["a", "b"])
        self.assertEqual((page["reset"], page["revision"]), (False, revision))
        self.update(owner, free=("a",))
        page = self.successResultOf(self.watch(peer, page["position"]))
        self.assertEqual(page["changes"], [{"delete": "a"}])

    def test_a_row_that_falls_is_a_change(self) -> None:
        owner = self.owner()
        self.publish(owner, row("a"))
        peer, position = self.start()
        owner.transport.loseConnection()
        self.network.flush()
        self.assertEqual(self.successResultOf(self.watch(peer, position, 0.0))["changes"], [])
        self.network.advance(TIMEOUT + 1)
        self.assertEqual(self.successResultOf(self.watch(peer, position))["changes"], [{"delete": "a"}])

    def test_without_a_change_it_answers_when_the_time_is_over(self) -> None:
        for wait, passed in ((5.0, 5.0), (1e9, MAX_WATCH), (float("inf"), MAX_WATCH)):
            peer, position = self.start()
            watching = self.watch(peer, position, wait)
            self.network.advance(passed - 1)
            self.assertNoResult(watching)
            self.network.advance(1)
            page = self.successResultOf(watching)
            self.assertEqual((page["reset"], page["changes"], page["position"]), (False, [], position))

    def test_no_time_is_an_answer_at_once(self) -> None:
        peer, position = self.start()
        for wait in (0.0, -1.0, float("nan"), float("-inf")):
            self.assertEqual(self.successResultOf(self.watch(peer, position, wait))["changes"], [])

    def test_one_at_a_time(self) -> None:
        peer, position = self.start()
        first = self.watch(peer, position)
        self.failureResultOf(self.watch(peer, position), Busy)
        self.network.advance(MAX_WATCH)
        self.successResultOf(first)
        self.watch(peer, position)

    def test_a_session_that_ends_leaves_its_place(self) -> None:
        watchers = Watchers(self.network.clock, limit=1)
        self.network.registry._watchers = watchers
        peer, position = self.start()
        self.watch(peer, position).addErrback(lambda _: None)
        other, _ = self.start()
        self.failureResultOf(self.watch(other, position), Busy)
        peer.transport.loseConnection()
        self.network.flush()
        self.assertEqual(watchers.count, 0)
        self.assertNoResult(self.watch(other, position))

    def test_a_publication_of_many_pages_comes_whole_and_in_order(self) -> None:
        owner = self.owner()
        peer, position = self.start()
        revision = self.publish(owner, *(row(f"r{number:04}") for number in range(150)))
        self.assertEqual(revision.number, 1)
        many = tuple(row(f"r{number:04}", port=2) for number in range(150))
        for start in range(0, 150, 50):
            self.update(owner, put=many[start : start + 50])
        seen: list[tuple[str, int]] = []
        revisions: list[int] = []
        while len(seen) < 300:
            page = self.successResultOf(self.watch(peer, position))
            seen += [(change["put"]["id"], change["put"]["port"]) for change in page["changes"]]
            position = page["position"]
            revisions.append(page["revision"].number)
        plain = [(f"r{number:04}", port) for port in (20001, 2) for number in range(150)]
        self.assertEqual(seen, plain)
        self.assertEqual(revisions, sorted(revisions))
        self.assertEqual(revisions[-1], 4)

    def test_a_registry_that_stops_answers_whoever_watches(self) -> None:
        peer, position = self.start()
        watching = self.watch(peer, position)
        self.network.registry.stopService()
        self.network.flush()
        self.assertEqual(self.successResultOf(watching)["changes"], [])
