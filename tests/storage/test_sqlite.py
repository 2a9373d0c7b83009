"""The store in SQLite, without threads (tests/integration has it with them)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.interfaces import OPENED, SAVED, Saved
from deployd.model.desired import Changes, Desired, Event, Order
from deployd.storage.mark import mark_path
from deployd.storage.schema import _FIRST, SCHEMA_VERSION
from deployd.storage.sqlite import SqliteStore, _configure, make_private
from tests.planning.states import saved_states
from tests.storage.store_contract import EVENT, PUT_BACK, StoreContract

ORDER = {"id": "http-1", "app": "webapp", "release": "v1", "stopped": True, "restarts": 0, "orphan": False}


class InlinePool:
    """What the store uses of adbapi's pool, at once: one transaction a call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None

    def runInteraction(self, work: Callable[[Any], Any]) -> Deferred[Any]:
        return maybeDeferred(self._run, work)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def _run(self, work: Callable[[Any], Any]) -> Any:
        if self.connection is None:
            self.connection = sqlite3.connect(self.path, check_same_thread=False)
            _configure(self.connection)
        try:
            result = work(self.connection.cursor())
            self.connection.commit()
        except BaseException:
            self.connection.rollback()
            raise
        return result


class SqliteCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.pools: list[InlinePool] = []

    def tearDown(self) -> None:
        for pool in self.pools:
            pool.close()

    def at(self, path: Path) -> SqliteStore:
        self.pools.append(InlinePool(path))
        return SqliteStore(path, self.pools[-1])  # type: ignore[arg-type]

    def sentence(self, doing: Deferred[Any]) -> str:
        """The one sentence of a refusal."""
        text = str(self.failureResultOf(doing, Refused).value)
        self.assertNotIn("\n", text)
        return text


class SqliteTests(StoreContract, SqliteCase):
    def new(self) -> SqliteStore:
        return self.at(Path(self.mktemp()))

    def reopened(self, store: SqliteStore) -> SqliteStore:
        return self.at(store._path)

    @settings(max_examples=30, deadline=None)
    @given(saved_states)
    def test_everything_saved_is_there_again(self, state: Desired) -> None:
        self.check_saved_is_there_again(state)

    def test_a_store_of_a_newer_deployd_is_refused(self) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        assert self.pools[-1].connection is not None
        self.pools[-1].connection.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
        self.assertIn("newer deployd", self.sentence(self.reopened(store).open(PUT_BACK)))

    def test_what_is_no_store_is_refused(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"not a database" * 1000)
        self.assertIn(str(path), self.sentence(self.at(path).open(PUT_BACK)))
        self.assertIn("cannot open", self.sentence(self.at(path / "x").open(PUT_BACK)))

    def test_a_damaged_row_is_refused(self) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        assert self.pools[-1].connection is not None
        self.pools[-1].connection.execute("insert into orders values ('x', '{}')")
        self.pools[-1].connection.commit()
        self.assertIn("cannot be read", self.sentence(self.reopened(store).open(PUT_BACK)))

    def test_a_full_disk_refuses_the_whole_change_and_the_store_lives(self) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        connection = self.pools[-1].connection
        assert connection is not None
        (pages,) = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count = {pages}")
        large = Event(0.0, "x", "y", "z", "d" * 100_000)
        self.assertIn("full", self.sentence(store.save(Changes(apps=("webapp",), events=(large,)))))
        connection.execute("pragma max_page_count = 100000")
        self.assertEqual(self.loaded(store).apps, frozenset())
        self.successResultOf(store.save(Changes(apps=("webapp",), events=(EVENT,))))
        self.assertEqual(self.loaded(store).apps, {"webapp"})

    def test_only_its_owner_can_read_it(self) -> None:
        path = Path(self.mktemp())
        make_private(path)
        self.successResultOf(self.at(path).open(PUT_BACK))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_commits_wait_for_the_disk(self) -> None:
        self.successResultOf(self.new().open(PUT_BACK))
        connection = self.pools[-1].connection
        assert connection is not None
        self.assertEqual(connection.execute("pragma journal_mode").fetchone(), ("wal",))
        self.assertEqual(connection.execute("pragma synchronous").fetchone(), (2,))


class MigrationTests(SqliteCase):
    """Stores of earlier deployds."""

    def old(self, version: int) -> SqliteStore:
        """A store as deployd wrote it then: nothing of it had ``good``, ``pinned`` or ``draining``."""
        store = self.at(Path(self.mktemp()))
        connection = sqlite3.connect(store._path)
        for statement in _FIRST:
            connection.execute(statement)
        counter = "opened" if version == 1 else "counter"
        connection.execute("insert into meta values ('epoch', 'e' || hex(randomblob(16))), (?, '7')", (counter,))
        connection.execute("insert into apps values ('webapp')")
        drone = {"name": "d1", "owner": "o1", "labels": {}, "role": "http", "command": ["serve"], "roles": []}
        connection.execute("insert into drones values ('d1', 'o1', '{}', ?, '192.0.2.1')", (json.dumps(drone),))
        for number, state, more in ((1, "deployed", {}), (2, "failed", {}), (3, "deploying", {"settled": {}})):
            release = {"app": "webapp", "number": number, "commit": "c" * 40, "state": state, "created": 5.0} | more
            row = ("webapp", number, "c" * 40, state, 5.0, json.dumps(release))
            connection.execute("insert into releases values (?, ?, ?, ?, ?, ?)", row)
        connection.execute("insert into orders values ('http-1', ?)", (json.dumps(ORDER),))
        connection.execute("insert into events (moment, what, who, app, detail) values (1, 'push', 'p', 'webapp', '')")
        connection.execute(f"pragma user_version = {version}")
        connection.commit()
        connection.close()
        return store

    def test_a_store_of_schema_1_goes_on_above_its_numbers(self) -> None:
        store = self.old(1)
        saved = self.successResultOf(store.open(PUT_BACK))
        self.assertEqual((saved.epoch[0], saved.counter), ("e", 7 * SAVED + OPENED))
        again = self.successResultOf(self.at(store._path).open(PUT_BACK))
        self.assertEqual((again.epoch, again.counter), (saved.epoch, saved.counter + OPENED))

    def test_a_store_of_schema_2_keeps_everything(self) -> None:
        store = self.old(2)
        saved = self.successResultOf(store.open(PUT_BACK))
        desired = saved.desired
        self.assertEqual((saved.counter, saved.restored), (7 + OPENED, False))
        self.assertEqual(desired.apps, {"webapp"})
        self.assertEqual([(drone.owner, drone.draining) for drone in desired.drones.values()], [("o1", False)])
        self.assertEqual(desired.orders, {"http-1": Order("http-1", "webapp", "v1", stopped=True)})
        self.assertEqual([event.what for event in self.successResultOf(store.events(9))], ["push"])
        self.assertEqual((desired.routes, desired.policies, desired.routers), ({}, {}, {}))

    def test_what_was_deployed_before_schema_3_counts_as_good(self) -> None:
        store = self.old(2)
        self.successResultOf(store.open(PUT_BACK))
        desired = self.successResultOf(self.at(store._path).open(PUT_BACK)).desired
        good = {release.name: release.good for release in desired.releases_of("webapp")}
        self.assertEqual(good, {"v1": 5.0, "v2": None, "v3": 5.0})

    def test_an_old_store_with_a_damaged_row_is_refused_and_stays_as_it_is(self) -> None:
        store = self.old(2)
        with sqlite3.connect(store._path) as connection:
            connection.execute("update releases set body = '[]' where number = 1")
        self.assertIn("cannot be read", self.sentence(store.open(PUT_BACK)))
        self.assertEqual(connection.execute("pragma user_version").fetchone(), (2,))
        connection.close()


class BackupTests(SqliteCase):
    """A database that is put back while its mark stays (Note [The mark beside the store])."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()).with_suffix(".sqlite")
        self.first = self.opened()
        self.backup = self.path.read_bytes()

    def opened(self, changes: Changes | None = None) -> Saved:
        """One life of the store, with a save if there are ``changes``."""
        store = self.at(self.path)
        saved = self.successResultOf(store.open(PUT_BACK))
        if changes is not None:
            self.successResultOf(store.save(changes))
        self.last_events = self.successResultOf(store.events(10))
        self.pools.pop().close()
        return saved

    def put_back(self, database: bytes) -> None:
        self.path.write_bytes(database)

    def test_an_older_database_starts_a_new_epoch_once(self) -> None:
        self.opened(Changes(apps=("webapp",)))
        lost = self.opened()
        self.put_back(self.backup)
        saved = self.opened()
        self.assertTrue(saved.restored)
        self.assertNotIn(saved.epoch, ("", self.first.epoch))
        self.assertEqual((saved.desired.apps, self.last_events), (frozenset(), [PUT_BACK]))
        self.assertGreater(saved.counter, lost.counter)
        again = self.opened()
        self.assertEqual((again.epoch, again.restored, self.last_events), (saved.epoch, False, [PUT_BACK]))

    def test_putting_the_newer_one_back_again_is_found_out_too(self) -> None:
        self.opened(Changes(apps=("webapp",)))
        newer = self.path.read_bytes()
        self.opened()
        self.put_back(self.backup)
        restored = self.opened()
        self.put_back(newer)
        saved = self.opened()
        self.assertTrue(saved.restored)
        self.assertNotIn(saved.epoch, (self.first.epoch, restored.epoch))
        self.assertEqual(saved.desired.apps, {"webapp"})

    def test_an_open_whose_mark_was_cut_off_is_no_restore(self) -> None:
        mark = mark_path(self.path).read_bytes()
        self.opened(Changes(apps=("webapp",)))
        mark_path(self.path).write_bytes(mark)
        self.assertEqual(self.opened().epoch, self.first.epoch)

    def test_a_mark_that_is_missing_or_no_number_says_nothing(self) -> None:
        mark_path(self.path).unlink()
        self.assertEqual(self.opened().epoch, self.first.epoch)
        mark_path(self.path).write_text("x")
        self.assertEqual(self.opened().epoch, self.first.epoch)

    def test_a_new_database_beside_an_old_mark_is_just_new(self) -> None:
        self.path.unlink()
        saved = self.opened()
        self.assertNotEqual(saved.epoch, self.first.epoch)
        self.assertEqual((saved.restored, self.last_events), (False, []))

    def test_the_mark_is_replaced_whole_and_private(self) -> None:
        mark = mark_path(self.path)
        self.assertEqual((mark.read_text(), mark.stat().st_mode & 0o777), (f"{OPENED}\n", 0o600))
        self.assertEqual([path.name for path in mark.parent.glob(mark.name + "*")], [mark.name])

    def test_a_mark_that_cannot_be_written_is_a_refusal(self) -> None:
        mark = mark_path(self.path)
        mark.unlink()
        mark.with_name(mark.name + ".new").mkdir()
        self.assertIn("cannot open", self.sentence(self.at(self.path).open(PUT_BACK)))
