"""What follows a position in the table's history, for somebody who knows nothing but pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import DeploydError
from deployd.interfaces import SavedTable
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.row_change import RowChange
from deployd.registry.book import Transaction
from deployd.registry.filter import RowFilter
from deployd.registry.history import MAX_LOOKED, History, Page, _line, _line_bytes
from deployd.registry.owner import Seat
from deployd.registry.position import Phase, Position
from deployd.registry.rows import Rows
from deployd.wire.documents import dump
from tests.registry.rows import SettledBook, row, rows_of

TIMEOUT = 45.0
OWNERS = ("alice", "bob")
ROLES = ("http", "say", "db")

Known = dict[str, tuple[str, int, int]]
Ports = Mapping[str, tuple[str, int]]


class Follower:
    """Rows as somebody has them who applies pages, once they are whole; says where the registry breaks its word."""

    def __init__(self, wanted: RowFilter) -> None:
        self.wanted = wanted
        self.position = ""
        self.rows: Known = {}
        self.resets = 0
        self.is_whole = False
        self.whole = Revision("", 0)
        self._held: list[dict[str, Any]] = []
        self._last = 0
        self._catching_up = 0

    def step(self, history: History) -> bool:
        """Take one page; whether there was anything to know."""
        page = history.after(Position.parse(self.position), self.wanted)
        self._check(page)
        self._held += page.lines
        self.position, self.is_whole = str(page.position), page.whole
        if page.whole:
            assert page.position.phase is Phase.LIVE
            for line in self._held:
                self._apply(line)
            self._held, self.whole = [], page.revision
        return page.is_news

    def sync(self, history: History) -> None:
        """Until there is nothing to know."""
        while self.step(history):
            pass

    def _check(self, page: Page) -> None:
        for index, line in enumerate(page.lines):
            if line["type"] == "reset":
                assert index == 0, "a reset comes first"
                assert line["epoch"] == page.position.epoch
                self._last = 0
            else:
                assert line["revision"] > self._last, "in order, and none twice"
                assert line["type"] != "put" or line["row"]["revision"] == line["revision"]
                self._last = line["revision"]
            is_last = index == len(page.lines) - 1
            assert not (is_last and page.whole and "more" in line), "a page that is whole ends a transaction"
            assert is_last or page.lines[index + 1]["type"] != "reset"
        assert page.text == dump(page.lines)

    def _apply(self, line: dict[str, Any]) -> None:
        if line["type"] == "reset":
            self.rows, self.resets = {}, self.resets + 1
            return
        found = line["row"]
        if line["type"] == "put":
            self.rows[found["id"]] = (found["role"], found["port"], found["revision"])
        else:
            # A row may go that came and went while a snapshot was read, but none that somebody else has seen.
            self.rows.pop(found["id"], None)


class World:
    """A book with its history; operations are values, so that Hypothesis can think of them."""

    def __init__(self, **bounds: int) -> None:
        self.bounds = bounds
        self.epochs = 0
        self.now = 0.0
        self.tables: dict[Revision, Known] = {}
        self.renew()

    def renew(self) -> None:
        """Another store: nothing is as it was."""
        self.epochs += 1
        self._load(SavedTable(f"an-epoch-{self.epochs}", 0))

    def restart(self) -> None:
        """The same store, opened again."""
        saved = tuple(self.history._changes)
        rows = tuple(sorted(rows_of(self.book), key=lambda one: one.revision))
        self._load(SavedTable(self.book.revision.epoch, self.book.revision.number, rows, saved))

    def _load(self, saved: SavedTable) -> None:
        self.book = SettledBook(saved, now=self.now)
        self.history = History(self.book.table, self.book.revision, saved.changes, **self.bounds)
        self.seats: dict[str, Seat] = {}
        self.note()

    def table(self) -> Known:
        return {one.id: (one.role, one.port, one.revision) for one in rows_of(self.book)}

    def note(self) -> None:
        self.tables[self.book.revision] = self.table()

    def do(self, what: str, owner: str, ports: Ports) -> None:
        self.now += 1
        try:
            done = self._do(what, owner, ports)
        except DeploydError:
            return
        if done is not None and done.changes:
            self.history.add(done.changes)
            self.note()

    def _do(self, what: str, owner: str, ports: Ports) -> Transaction | None:
        if what == "renew":
            self.renew()
        elif what == "restart":
            self.restart()
        elif what == "expire":
            self.now += TIMEOUT
            return self.book.expire(self.now, TIMEOUT)
        elif what == "attach" or owner not in self.seats:
            self.seats[owner] = self.book.attach(owner, owner, "127.0.0.1", True, self.now)
        elif what == "lose":
            self.book.owners.lose(self.seats[owner], self.now)
        elif what == "leave":
            return self.book.leave(self.seats[owner])
        else:
            rows = [row(f"{owner}-{name}", port, role=role) for name, (role, port) in ports.items() if port]
            if what == "publish":
                return self.book.publish(self.seats[owner], rows)
            gone = [f"{owner}-{name}" for name, (_, port) in ports.items() if not port]
            return self.book.update(self.seats[owner], rows, gone)
        return None


Operation = tuple[str, str, dict[str, tuple[str, int]]]

changing = ["attach", "publish", "publish", "update", "update", "update", "lose", "leave", "expire"]
some_ports = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.sampled_from(ROLES), st.integers(0, 3)), max_size=8
)


def operations(*more: str) -> st.SearchStrategy[Operation]:
    return st.tuples(st.sampled_from([*changing, *more]), st.sampled_from(OWNERS), some_ports)


filters = st.sampled_from([RowFilter(), RowFilter(role="http"), RowFilter(role="nobody"), RowFilter(app="webapp")])
pages = st.sampled_from([1, 700, 1500, 100_000])


def seen(table: Known, wanted: RowFilter) -> Known:
    return {name: value for name, value in table.items() if not wanted.role or value[0] == wanted.role}


class FollowingTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None)
    @given(st.lists(operations("renew", "restart", "step", "step", "sync"), max_size=40), filters, st.data())
    def test_whoever_follows_has_the_table_of_some_revision_whenever_it_is_whole(
        self, done: list[Operation], wanted: RowFilter, data: st.DataObject
    ) -> None:
        """From nowhere, in pages of any size, however little of the past is kept, and over restarts."""
        bounds = {"max_changes": data.draw(st.sampled_from([1, 3, 10, 1000])), "page_bytes": data.draw(pages)}
        world = World(**bounds)
        follower = Follower(wanted)
        for what, owner, ports in [*done, ("sync", "", {})]:
            if what == "step":
                follower.step(world.history)
            elif what == "sync":
                follower.sync(world.history)
                self.assertTrue(follower.is_whole)
                self.assertEqual(follower.rows, seen(world.table(), wanted))
            else:
                world.do(what, owner, ports)
            if follower.is_whole:
                # A filter may put it past changes that it does not want.
                table = next(
                    known
                    for revision, known in sorted(world.tables.items(), key=lambda one: -one[0].number)
                    if revision.epoch == follower.whole.epoch and revision.number <= follower.whole.number
                )
                self.assertEqual(follower.rows, seen(table, wanted))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(operations(), max_size=30), filters, pages, st.data())
    def test_from_any_revision_exactly_what_was_done_after_it(
        self, done: list[Operation], wanted: RowFilter, page_bytes: int, data: st.DataObject
    ) -> None:
        world = World(page_bytes=page_bytes)
        for one in done:
            world.do(*one)
        start = data.draw(st.integers(0, world.book.revision.number))
        expected = [
            (change.number, "delete" if change.freed else "put", change.row.id)
            for change in world.history._changes[start:]
            if wanted.takes(change.row)
        ]
        lines: list[dict[str, Any]] = []
        position = str(start) if data.draw(st.booleans()) else f"an-epoch-1.{start}"
        while True:
            page = world.history.after(Position.parse(position), wanted)
            lines += page.lines
            position = str(page.position)
            if not page.is_news:
                break
        self.assertEqual([(line["revision"], line["type"], line["row"]["id"]) for line in lines], expected)
        self.assertEqual(position, f"an-epoch-1.{world.book.revision.number}")

    @settings(max_examples=30, deadline=None)
    @given(st.lists(operations("restart"), min_size=5, max_size=30), pages)
    def test_a_restart_resets_nobody(self, done: list[Operation], page_bytes: int) -> None:
        world = World(page_bytes=page_bytes)
        follower = Follower(RowFilter())
        follower.sync(world.history)
        for one in done:
            world.do(*one)
            follower.step(world.history)
        follower.sync(world.history)
        self.assertEqual((follower.resets, follower.rows), (1, world.table()))

    def test_the_end_of_a_change_is_news_however_little_of_it_is_wanted(self) -> None:
        """Whoever has its only line holds that until then."""
        count = MAX_LOOKED + 10
        changes = [
            RowChange(number + 1, row(f"r{number}", role="say" if number else "http"), False, number < count - 1)
            for number in range(count)
        ]
        history = History(Rows(), Revision("e", count), changes)
        first = history.after(Position("e", 0), RowFilter(role="http"))
        self.assertEqual([line.get("more") for line in first.lines], [True])
        self.assertEqual((first.whole, first.position.number), (False, MAX_LOOKED))
        rest = history.after(first.position, RowFilter(role="http"))
        self.assertEqual((rest.lines, rest.whole, rest.is_news, rest.position.number), ((), True, True, count))
        self.assertFalse(history.after(rest.position, RowFilter(role="http")).is_news)

    def test_positions_that_nobody_gave_are_answered_with_a_reset(self) -> None:
        world = World()
        world.do("attach", "alice", {})
        world.do("publish", "alice", {"a": ("http", 1)})
        for text in ("", "x", "an-epoch-1", "an-epoch-1.", "an-epoch-1.2", "an-epoch-2.0", "an-epoch-1.-1", "2", "0-c9",
                     "an-epoch-1.²", "an-epoch-1." + "9" * 5000, "an-epoch-1. 0", "an-epoch-1.0-s2"):  # fmt: skip
            page = world.history.after(Position.parse(text), RowFilter())
            self.assertEqual([line["type"] for line in page.lines], ["reset", "put"], text)
            self.assertEqual((page.whole, str(page.position)), (True, "an-epoch-1.1"))
        for text in ("0", "an-epoch-1.0"):
            page = world.history.after(Position.parse(text), RowFilter())
            self.assertEqual([line["type"] for line in page.lines], ["put"])

    def test_what_changed_nothing_and_what_only_marks_is_no_change(self) -> None:
        world = World()
        world.do("attach", "alice", {})
        world.do("publish", "alice", {"a": ("http", 1)})
        end = world.history.revision
        world.do("publish", "alice", {"a": ("http", 1)})
        world.do("lose", "alice", {})
        self.assertEqual(world.history.revision, end)

    def test_who_is_in_the_middle_of_a_transaction_is_told_that_it_is_over(self) -> None:
        """Even if nothing more of it is wanted: it holds back what it was told."""
        world = World(page_bytes=1)
        world.do("attach", "alice", {})
        world.do("publish", "alice", {"a": ("http", 1), "b": ("say", 1), "c": ("http", 1), "d": ("say", 1)})
        position, told = "an-epoch-1.0", []
        for _ in range(3):
            page = world.history.after(Position.parse(position), RowFilter(role="http"))
            told.append((len(page.lines), page.whole, page.is_news))
            position = str(page.position)
        self.assertEqual(told, [(1, False, True), (1, True, True), (0, True, False)])


class BoundTests(SynchronousTestCase):
    def changes(self, count: int, meta: int) -> list[RowChange]:
        rows = [row(f"r{number}", revision=number, meta={"k": "v" * meta}) for number in range(1, count + 1)]
        return [RowChange(one.revision, one) for one in rows]

    def test_the_history_is_bounded_in_number_and_bytes(self) -> None:
        for bounds, kept in (({"max_changes": 10}, range(10, 12)), ({"max_bytes": 20_000}, range(3, 6))):
            history = History(Rows(), Revision("e", 0), **bounds)
            for change in self.changes(50, 4000):
                history.add([change])
                self.assertLessEqual(len(history), kept.stop)
            self.assertIn(len(history), kept)
            self.assertEqual(history.revision, Revision("e", 50))
            oldest = Position("e", 50 - len(history))
            self.assertEqual(len(history.after(oldest, RowFilter()).lines), len(history))
            older = Position("e", oldest.number - 1)
            self.assertEqual(history.after(older, RowFilter()).lines[0]["type"], "reset")

    def test_pages_that_are_kept_are_bounded(self) -> None:
        history = History(Rows(), Revision("e", 0))
        history.add(self.changes(500, 1))
        for number in range(500):
            history.after(Position("e", number), RowFilter())
        self.assertLessEqual(len(history._pages), 64)

    @given(
        st.builds(
            Registration,
            **{
                name: st.text("abcXYZ019.:_-", min_size=1, max_size=length)
                for name, length in {"id": 128, "namespace": 100, "role": 63, "host": 255, "drone": 63, "app": 100,
                                     "release": 64, "version": 64, "owner": 36}.items()
            },
            port=st.integers(1, 65535),
            revision=st.integers(1, 10**17),
            meta=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), max_size=3),
        ),
        st.booleans(),
    )  # fmt: skip
    def test_a_line_is_no_longer_than_it_was_taken_for(self, one: Registration, freed: bool) -> None:
        self.assertLessEqual(len(dump(_line(RowChange(one.revision, one, freed)))) + 1, _line_bytes(one))
