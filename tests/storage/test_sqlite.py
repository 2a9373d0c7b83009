"""The store in SQLite, without threads (tests/integration has it with them)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.model.desired import Changes, Desired, Event
from deployd.storage.sqlite import SCHEMA_VERSION, SqliteStore, _configure, make_private
from tests.planning.states import saved_states
from tests.storage.store_contract import EVENT, StoreContract


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


class SqliteTests(StoreContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.pools: list[InlinePool] = []

    def tearDown(self) -> None:
        for pool in self.pools:
            pool.close()

    def at(self, path: Path) -> SqliteStore:
        self.pools.append(InlinePool(path))
        return SqliteStore(path, self.pools[-1])  # type: ignore[arg-type]

    def new(self) -> SqliteStore:
        return self.at(Path(self.mktemp()))

    def reopened(self, store: SqliteStore) -> SqliteStore:
        return self.at(store._path)

    @settings(max_examples=30, deadline=None)
    @given(saved_states)
    def test_everything_saved_is_there_again(self, state: Desired) -> None:
        self.check_saved_is_there_again(state)

    def sentence(self, doing: Deferred[Any]) -> str:
        """The one sentence of a refusal."""
        text = str(self.failureResultOf(doing, Refused).value)
        self.assertNotIn("\n", text)
        return text

    def test_a_store_of_a_newer_deployd_is_refused(self) -> None:
        store = self.new()
        self.successResultOf(store.open())
        assert self.pools[-1].connection is not None
        self.pools[-1].connection.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
        self.assertIn("newer deployd", self.sentence(self.reopened(store).open()))

    def test_what_is_no_store_is_refused(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"not a database" * 1000)
        self.assertIn(str(path), self.sentence(self.at(path).open()))
        self.assertIn("cannot open", self.sentence(self.at(path / "x").open()))

    def test_a_damaged_row_is_refused(self) -> None:
        store = self.new()
        self.successResultOf(store.open())
        assert self.pools[-1].connection is not None
        self.pools[-1].connection.execute("insert into orders values ('x', '{}')")
        self.pools[-1].connection.commit()
        self.assertIn("cannot be read", self.sentence(self.reopened(store).open()))

    def test_a_full_disk_refuses_the_whole_change_and_the_store_lives(self) -> None:
        store = self.new()
        self.successResultOf(store.open())
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
        self.successResultOf(self.at(path).open())
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_commits_wait_for_the_disk(self) -> None:
        self.successResultOf(self.new().open())
        connection = self.pools[-1].connection
        assert connection is not None
        self.assertEqual(connection.execute("pragma journal_mode").fetchone(), ("wal",))
        self.assertEqual(connection.execute("pragma synchronous").fetchone(), (2,))
