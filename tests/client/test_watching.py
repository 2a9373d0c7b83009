"""A port table that is followed, against a registry over iosim."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.client.watching import MAX_HELD, RowWatcher
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import drone_credential
from deployd.registry.filter import RowFilter
from deployd.registry.history import History, Page
from deployd.registry.position import Position
from deployd.registry.watching import Watchers
from deployd.wire.documents import dump
from deployd.wire.registry import Attach, Publish, Update
from tests.client.network import SECRET, TIMEOUT, Network
from tests.registry.rows import row


class Table:
    """What a listener makes of a watcher's calls; it checks that each says something new."""

    def __init__(self) -> None:
        self.rows: dict[str, Registration] = {}
        self.revision = Revision("", -1)
        self.resets: list[bool] = []
        self.changes: list[tuple[list[str], list[str]]] = []
        self.trips = 0

    def reset(self, rows: tuple[Registration, ...], revision: Revision, same_epoch: bool) -> None:
        assert same_epoch == (revision.epoch == self.revision.epoch)
        assert not same_epoch or revision.number >= self.revision.number
        self.rows = {one.id: one for one in rows}
        assert len(self.rows) == len(rows)
        self.revision = revision
        self.resets.append(same_epoch)

    def changed(self, put: tuple[Registration, ...], gone: tuple[str, ...], revision: Revision) -> None:
        assert revision.epoch == self.revision.epoch
        assert revision.number > self.revision.number
        if self.trips:
            self.trips -= 1
            raise RuntimeError("the listener trips")
        for row_id in gone:
            self.rows.pop(row_id, None)
        self.rows.update({one.id: one for one in put})
        self.revision = revision
        self.changes.append(([one.id for one in put], list(gone)))


class WatchingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = Network()
        self.table = Table()
        self.failures: list[str] = []

    def watcher(self, max_held: int = MAX_HELD) -> RowWatcher:
        watcher = RowWatcher(
            dial=self.network.dial("read", secret=None),
            reset=self.table.reset,
            changed=self.table.changed,
            failed=lambda error: self.failures.append(str(error)),
            max_held=max_held,
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        self.network.flush()
        return watcher

    def owner(self, known: Identity | None = None) -> Peer:
        identity = known or Identity.create()
        peer = self.network.session("register", identity)
        proof = drone_credential(SECRET, identity.owner)
        self.network.answer(peer.call(Attach, name="d1", credential=proof, advertise=""))
        return peer

    def publish(self, peer: Peer, *rows: Registration) -> None:
        parts = [rows[start : start + 100] for start in range(0, len(rows), 100)] or [()]
        for part, some in enumerate(parts):
            self.network.answer(peer.call(Publish, part=part, parts=len(parts), rows=some))

    def update(self, peer: Peer, put: tuple[Registration, ...] = (), free: tuple[str, ...] = ()) -> None:
        self.network.answer(peer.call(Update, put=put, free=free))

    def settle(self) -> None:
        self.network.advance(0.1, step=0.05)

    def assert_in_step(self) -> None:
        book = {one.id: one for one in self.network.registry.rows(RowFilter())}
        self.assertEqual(self.table.rows, book)
        self.assertEqual(self.table.revision, self.network.registry.revision)


class RowWatcherTests(WatchingCase):
    def test_it_tells_of_all_rows_and_then_of_each_change(self) -> None:
        owner = self.owner()
        self.publish(owner, row("a", meta={"k": "v"}), row("b"))
        watcher = self.watcher()
        self.assert_in_step()
        self.assertTrue(watcher.connected)
        self.assertEqual(watcher.http, "registry:6080")
        self.update(owner, (row("c"),), ("a",))
        self.settle()
        self.assert_in_step()
        self.assertEqual((self.table.resets, self.table.changes), ([False], [(["c"], ["a"])]))

    def test_an_empty_registry_is_a_table_too(self) -> None:
        self.watcher()
        self.assertEqual((self.table.rows, self.table.resets), ({}, [False]))

    def test_it_watches_on_for_hours(self) -> None:
        owner = self.owner()
        self.watcher()
        for number in range(5):
            self.network.advance(100)
            self.publish(owner, row("a", port=number + 1))
            self.settle()
            self.assert_in_step()
        self.assertEqual((self.table.resets, self.failures), ([False], []))

    def test_after_a_lost_link_it_goes_on_where_it_was(self) -> None:
        owner = self.owner()
        self.publish(owner, row("a"), row("b"))
        watcher = self.watcher()
        self.network.cut()
        self.assertFalse(watcher.connected)
        owner = self.owner()
        self.publish(owner, row("c"))
        self.network.advance(TIMEOUT + 10)
        self.assert_in_step()
        self.assertEqual(self.table.resets, [False])

    def test_a_link_that_goes_dead_is_noticed(self) -> None:
        self.watcher()
        self.network.silence()
        self.publish(self.owner(), row("a"))
        self.network.advance(120)
        self.assert_in_step()

    def test_another_epoch_is_a_reset_that_says_so(self) -> None:
        self.publish(self.owner(), row("a"))
        self.watcher()
        self.network.restart()
        self.network.advance(1)
        self.assert_in_step()
        self.assertEqual(self.table.resets, [False, False])

    def test_a_registry_that_is_there_again_with_its_rows_is_no_reset(self) -> None:
        owner = self.owner()
        self.publish(owner, row("a"), row("b"))
        self.watcher()
        self.network.reopen()
        self.network.advance(1)
        self.publish(self.owner(), row("c"))
        self.network.advance(1)
        self.assert_in_step()
        self.assertEqual((self.table.resets, self.table.changes), ([False], [(["c"], [])]))
        self.network.advance(TIMEOUT)
        self.assert_in_step()
        self.assertEqual(list(self.table.rows), ["c"])

    def test_a_change_of_many_pages_comes_whole(self) -> None:
        owner = self.owner()
        self.watcher()
        self.publish(owner, *(row(f"r{number:04}") for number in range(1000)))
        self.settle()
        self.assert_in_step()
        self.assertEqual([len(put) for put, _ in self.table.changes], [1000])

    def test_a_change_of_many_pages_comes_whole_over_a_lost_link(self) -> None:
        owner = self.owner()
        self.watcher()
        self.network.up = False
        self.network.cut()
        owner = self.owner_behind()
        self.publish(owner, *(row(f"r{number:04}") for number in range(1000)))
        self.network.up = True
        self.network.clock.advance(5)
        for _ in range(40):
            for pump in self.network.pumps:
                pump.pump()
        self.network.cut()
        self.network.advance(10)
        self.assertEqual(self.table.resets, [False])
        self.assertEqual(max(len(put) for put, _ in self.table.changes), 1000)

    def owner_behind(self) -> Peer:
        self.network.up = True
        owner = self.owner()
        self.network.up = False
        return owner

    def test_a_change_that_is_too_much_to_hold_is_listed(self) -> None:
        owner = self.owner()
        self.watcher(max_held=200)
        self.publish(owner, *(row(f"r{number:04}") for number in range(1000)))
        self.network.advance(2)
        self.assert_in_step()
        self.assertEqual(self.table.resets, [False, True])

    def test_who_is_too_far_behind_lists_again(self) -> None:
        registry = self.network.registry
        registry._history = History(registry._book.table, registry.revision, max_changes=3)
        owner = self.owner()
        self.watcher()
        self.publish(owner, row("a"), row("b"), row("c"), row("d"))
        self.settle()
        self.assert_in_step()
        self.assertEqual(self.table.resets, [False, True])

    def test_a_busy_registry_is_asked_again_later(self) -> None:
        self.network.registry._watchers = Watchers(self.network.clock, limit=0)
        self.watcher()
        self.network.advance(20)
        self.assertLess(len(self.failures), 15)
        self.assertIn("too many sessions watch", self.failures[0])
        self.network.registry._watchers = Watchers(self.network.clock)
        self.publish(self.owner(), row("a"))
        self.network.advance(6)
        self.assert_in_step()

    def test_a_registry_that_does_not_wait_is_not_asked_all_the_time(self) -> None:
        self.watcher()
        asked = []

        async def follow(position: Any, wanted: RowFilter, *rest: Any) -> Page:
            asked.append(position)
            return self.network.registry._history.after(position, wanted)

        self.network.registry.follow = follow  # type: ignore[method-assign]
        self.network.advance(60)
        self.assertLess(len(asked), 65)

    def test_a_registry_that_talks_nonsense_is_left_and_understood_again_later(self) -> None:
        history = self.network.registry._history
        owner = self.owner()
        self.watcher()
        several: tuple[Any, ...] = (
            "x",
            {"type": "put"},
            7,
            None,
            [None],
            [{}],
            [{"type": "put", "revision": 1, "row": {}}],
            [{"type": "delete", "revision": 1, "row": None}],
            [["put"]],
            [],
        )
        for number, nonsense in enumerate(several):
            page = Page(Position("epoch 1" if nonsense else "e", 1000), ())
            page.text = dump(nonsense)
            history.after = lambda position, wanted, page=page: page  # type: ignore[method-assign,misc]
            self.publish(owner, row("a", port=number + 1))
            self.network.advance(30)
        del history.after
        self.network.advance(10)
        for sentence in ("changes are not what the protocol asks for", "revisions do not go on: beginning anew"):
            self.assertIn(f"registry:6000: the registry's {sentence}", self.failures)
        self.assert_in_step()

    def test_a_row_that_is_no_good_is_none(self) -> None:
        owner = self.owner()
        self.publish(owner, row("a"))
        self.watcher()
        good: dict[str, Any] = {"namespace": "n", "role": "r", "host": "h", "port": 1}
        bad: list[dict[str, Any]] = [
            {"port": "1"},
            {"port": 0},
            {"port": True},
            {"host": ""},
            {"host": "a b"},
            {"role": 3},
        ]
        rows = [good | {"id": f"bad{number}"} | change for number, change in enumerate(bad)]
        rows += [{"id": "a"}, good | {"id": "fine", "news": 1}]
        number = self.network.registry.revision.number + 1
        end = Position("epoch 1", number)
        page = Page(end, tuple({"type": "put", "revision": number, "row": one} for one in rows))
        history = self.network.registry._history
        history.after = lambda at, wanted: Page(end) if at == end else page  # type: ignore[method-assign]
        self.publish(owner, row("b"))
        self.settle()
        self.assertEqual(list(self.table.rows), ["fine"])

    def test_a_listener_that_trips_hears_everything_again(self) -> None:
        owner = self.owner()
        self.watcher()
        self.table.trips = 1
        self.publish(owner, row("a"))
        self.network.advance(3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_in_step()

    def test_nothing_is_called_after_it_stopped(self) -> None:
        owner = self.owner()
        watcher = self.watcher()
        stopping: Deferred[Any] = watcher.stopService()
        self.network.flush()
        self.successResultOf(stopping)
        self.publish(owner, row("a"))
        self.network.advance(10)
        self.assertEqual((self.table.rows, watcher.connected), ({}, False))
        watcher.startService()
        self.network.flush()
        self.assert_in_step()

    def test_it_may_be_stopped_by_whoever_it_calls(self) -> None:
        owner = self.owner()
        watcher = self.watcher()
        changed = self.table.changed

        def stop(*change: Any) -> None:
            changed(*change)
            watcher.stopService()

        watcher._changed = stop
        for name in ("a", "b"):
            self.publish(owner, row(name))
            self.network.advance(3)
        self.assertEqual((list(self.table.rows), watcher.connected), (["a"], False))

    def test_changes_while_the_snapshot_is_read_are_in_the_table(self) -> None:
        """One revision, though the pages of the snapshot come at many."""
        owner = self.owner()
        self.publish(owner, *(row(f"r{number:04}") for number in range(500)))
        history = self.network.registry._history
        answering = history.after
        changes = iter(range(10**6))

        def after(position: Position | None, wanted: RowFilter) -> Page:
            page = answering(position, wanted)
            number = next(changes)
            if number < 20:
                put = (row(f"r{number * 7 % 500:04}", port=number + 1), row(f"new{number:03}"))
                gone = (f"r{number * 31 % 500:04}",) if number % 7 else ()
                owner.call(Update, put=put, free=gone).addErrback(lambda _: None)
            return page

        history.after = after  # type: ignore[method-assign]
        self.watcher()
        self.settle()
        del history.after
        self.network.advance(1)
        self.assert_in_step()
        self.assertEqual(self.table.resets, [False])

    def test_a_table_larger_than_any_is_not_held(self) -> None:
        owner = self.owner()
        self.publish(owner, *(row(f"r{number:04}") for number in range(500)))
        watcher = RowWatcher(
            dial=self.network.dial("read", secret=None),
            reset=self.table.reset,
            changed=self.table.changed,
            failed=lambda error: self.failures.append(str(error)),
            max_snapshot=400,
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        self.network.advance(3)
        self.assertEqual(self.table.resets, [])
        self.assertIn("a table of more than", self.failures[0])
        self.assertLessEqual(len(watcher._held), 400)


class CutTests(WatchingCase):
    def test_the_table_is_right_wherever_the_link_is_cut(self) -> None:
        """One cut after each number of deliveries, with changes before and after it."""
        for cut_after in range(0, 60):
            self.setUp()
            owner = self.owner()
            self.publish(owner, *(row(f"r{number:03}") for number in range(300)))
            watcher = RowWatcher(
                dial=self.network.dial("read", secret=None), reset=self.table.reset, changed=self.table.changed
            )
            owner_pump = self.network.pumps[-1]
            watcher.startService()
            pump = self.network.pumps[-1]
            for moved in range(cut_after):
                pump.pump()
                if moved % 5 == 4:
                    changed = row(f"r{moved:03}", port=moved + 1)
                    owner.call(Update, put=(changed,), free=(f"r{moved + 100:03}",)).addErrback(lambda _: None)
                    owner_pump.pump()
                    self.network.clock.advance(0.001)
            pump.serverIO.loseConnection()
            self.network.flush()
            self.update(owner, (row("new"),), ("r299",))
            self.network.advance(3)
            self.assert_in_step()
            watcher.stopService()

    def test_the_table_is_right_after_random_changes_cuts_and_restarts(self) -> None:
        chance, identity = random.Random(7), Identity.create()
        self.watcher()
        owner = self.owner(identity)
        self.publish(owner)
        for _ in range(300):
            ids = [f"r{number}" for number in chance.sample(range(40), 5)]
            what = chance.random()
            if what < 0.7:
                self.update(owner, tuple(row(name, port=chance.randint(1, 9)) for name in ids[:3]), tuple(ids[3:]))
            elif what < 0.8:
                self.network.cut()
                owner = self.owner(identity)
                self.publish(owner, *(row(name) for name in ids))
            elif what < 0.85:
                self.network.restart()
                owner = self.owner(identity)
                self.publish(owner)
            elif what < 0.95:
                self.network.clock.advance(0)
                for pump in list(self.network.pumps):
                    pump.pump()
            else:
                self.network.advance(6)
                self.assert_in_step()
        self.network.advance(6)
        self.assert_in_step()
