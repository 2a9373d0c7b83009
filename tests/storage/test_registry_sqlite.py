"""The registry's store in SQLite, without its thread (tests/integration has it with one)."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy, Refused, Superseded
from deployd.interfaces import SavedTable
from deployd.storage.registry_file import SCHEMA_VERSION, TableFile
from deployd.storage.registry_sqlite import SqliteRegistryStore
from tests import examples
from tests.storage.registry_store_contract import (
    RegistryStoreContract,
    Step,
    changes_after,
    check_it_is_as_a_model_says,
    freeing,
    lives,
    row,
)
from tests.storage.registry_stores import QuickFile, inline_store


class SqliteRegistryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.files: dict[SqliteRegistryStore, TableFile] = {}

    def tearDown(self) -> None:
        for file in self.files.values():
            file.close()

    def at(
        self, path: Path, max_changes: int = 1000, max_bytes: int = 10**8, kind: type[TableFile] = TableFile
    ) -> SqliteRegistryStore:
        file = kind(path, max_changes, max_bytes)
        store = inline_store(file)
        self.files[store] = file
        return store

    def connection(self, store: SqliteRegistryStore) -> sqlite3.Connection:
        connection = self.files[store]._connection
        assert connection is not None
        return connection

    def sentence(self, doing: Deferred[Any], error: type[Exception] = Refused) -> str:
        text = str(self.failureResultOf(doing, error).value)
        self.assertNotIn("\n", text)
        return text


class SqliteRegistryStoreTests(RegistryStoreContract, SqliteRegistryCase):
    def new(self, max_changes: int = 1000, number: int = 0) -> SqliteRegistryStore:
        path = Path(self.mktemp())
        if number:
            store = self.at(path)
            self.successResultOf(store.open())
            self.connection(store).execute("update meta set begun = ?", (number,))
            self.successResultOf(store.close())
        return self.at(path, max_changes)

    def reopened(self, store: SqliteRegistryStore) -> SqliteRegistryStore:
        file = self.files[store]
        return self.at(file.path, file._max_changes)

    def fill(self, store: SqliteRegistryStore) -> None:
        ((pages,),) = self.connection(store).execute("pragma page_count").fetchall()
        self.connection(store).execute(f"pragma max_page_count = {pages}")

    def make_room(self, store: SqliteRegistryStore) -> None:
        self.connection(store).execute("pragma max_page_count = 1000000")


class SqliteModelTests(SqliteRegistryCase):
    @settings(max_examples=examples // 3)
    @given(lives)
    def test_it_is_as_a_model_says(self, lives: Sequence[Sequence[Step]]) -> None:
        path = Path(self.mktemp())
        check_it_is_as_a_model_says(self, lambda: self.at(path, 600, kind=QuickFile), lives)


class RegistryFileTests(SqliteRegistryCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.store = self.at(self.path)
        self.successResultOf(self.store.open())

    def test_only_its_owner_can_read_it(self) -> None:
        self.successResultOf(self.store.save(changes_after(0, row())))
        modes = {path.name: path.stat().st_mode & 0o777 for path in self.path.parent.iterdir()}
        self.assertEqual(set(modes.values()), {0o600}, modes)
        self.assertEqual(len(modes), 4)

    def test_commits_wait_for_the_disk(self) -> None:
        connection = self.connection(self.store)
        self.assertEqual(connection.execute("pragma journal_mode").fetchone(), ("wal",))
        self.assertEqual(connection.execute("pragma synchronous").fetchone(), (2,))

    def test_a_store_of_a_newer_deployd_is_refused(self) -> None:
        self.connection(self.store).execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
        self.assertIn("newer deployd", self.sentence(self.at(self.path).open()))

    def test_what_is_no_store_is_refused(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"not a database" * 1000)
        self.assertIn(str(path), self.sentence(self.at(path).open()))
        self.assertIn(str(path / "x"), self.sentence(self.at(path / "x").open()))

    def test_a_damaged_row_is_refused(self) -> None:
        for text in ("{}", "[1]", "[", "[0,0,1,2,3,4,5,6,7,8,9,10,11]", "[" * 100_000):
            self.connection(self.store).execute("insert or replace into changes values (1, ?)", (text,))
            sentence = self.sentence(self.at(self.path).open())
            self.assertIn(f"{self.path} cannot be read", sentence)

    def test_a_disk_that_fails_is_asked_again(self) -> None:
        """After an error of the disk the file is opened anew, to see what it has kept."""
        self.connection(self.store).execute("pragma query_only = on")
        self.assertIn("readonly", self.sentence(self.store.save(changes_after(0, row("a"))), Busy))
        self.successResultOf(self.store.save(changes_after(0, row("a"))))
        self.assertEqual(self.successResultOf(self.at(self.path).open()).number, 1)

    def test_a_save_that_failed_and_is_there_all_the_same_is_superseded(self) -> None:
        rival = self.at(self.path)
        self.successResultOf(rival.open())
        self.successResultOf(rival.save(changes_after(0, row("a"))))
        self.connection(self.store).execute("pragma query_only = on")
        self.assertIn("read anew", self.sentence(self.store.save(changes_after(0, row("a"))), Superseded))
        self.assertEqual(self.successResultOf(self.store.open()).number, 1)

    def test_a_file_that_may_not_grow_is_busy_and_the_table_lives(self) -> None:
        """An error of the disk that SQLite does not know for a full one."""
        self.successResultOf(self.store.save(changes_after(0, row("a"))))
        more = changes_after(1, *(row(f"b{number}", meta={"text": "x" * 4000}) for number in range(100)))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            for _ in range(2):
                self.assertIn(str(self.path), self.sentence(self.store.save(more), Busy))
            small = changes_after(1, row("c"))
            self.successResultOf(self.store.save(small))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.successResultOf(self.store.save(changes_after(2, row("d"))))
        table = self.successResultOf(self.at(self.path).open())
        self.assertEqual([each.id for each in table.rows], ["a", "c", "d"])

    def test_a_power_cut_in_the_middle_of_a_save_leaves_those_before_it(self) -> None:
        """Whatever of it came to the disk: cut off anywhere, it was not made, however many parts it was made in."""
        wal = self.path.with_name(self.path.name + "-wal")
        ends, counts, number = [wal.stat().st_size], [0], 0
        for count in (1, 3, 2500, 1):
            changes = changes_after(number, *(row(f"r{place}") for place in range(number, number + count)))
            self.successResultOf(self.store.save(changes))
            number += count
            ends.append(wal.stat().st_size)
            counts.append(number)
        self.assertEqual(sorted(set(ends)), ends)
        table, log = self.path.read_bytes(), wal.read_bytes()
        for saves, end in enumerate(ends):
            following = ends[saves + 1] if saves + 1 < len(ends) else end + 2
            for cut in {end, end + 1, (end + following) // 2, following - 1}:
                copy = Path(self.mktemp())
                copy.write_bytes(table)
                copy.with_name(copy.name + "-wal").write_bytes(log[:cut])
                found = self.successResultOf(self.at(copy).open())
                self.assertEqual([each.id for each in found.rows], [f"r{place}" for place in range(counts[saves])])

    def test_a_disk_that_goes_away_is_busy_until_it_is_back(self) -> None:
        away = self.path.with_name("away")
        self.connection(self.store).execute("pragma query_only = on")
        self.path.rename(away)
        self.path.mkdir()
        for _ in range(2):
            self.assertIn(str(self.path), self.sentence(self.store.save(changes_after(0, row("a"))), Busy))
        self.path.rmdir()
        away.rename(self.path)
        self.successResultOf(self.store.save(changes_after(0, row("a"))))
        self.assertEqual(self.successResultOf(self.at(self.path).open()).number, 1)


class TidyTests(SqliteRegistryCase):
    """Note [The table is a log]"""

    def churned(self, store: SqliteRegistryStore, rounds: int) -> SavedTable:
        """The same hundred rows, changed again and again."""
        number = self.successResultOf(store.open()).number
        for port in range(1, rounds + 1):
            put = changes_after(number, *(row(f"r{place}", port) for place in range(100)))
            self.successResultOf(store.save(put))
            number += 100
        return self.successResultOf(self.at(self.files[store].path, 500).open())

    def pause(self, store: SqliteRegistryStore) -> None:
        while self.files[store].tidy(True):
            pass

    def test_the_file_does_not_grow_with_what_is_replaced(self) -> None:
        store = self.at(Path(self.mktemp()), 500)
        table = self.churned(store, 200)
        self.assertEqual((len(table.rows), table.number), (100, 20_000))
        self.pause(store)
        ((count,),) = self.connection(store).execute("select count(*) from changes").fetchall()
        self.assertLess(count, 500 + 100 + 3 * 256)
        path = self.files[store].path
        self.assertLess(path.stat().st_size, 2_000_000)
        self.assertLess(path.with_name(path.name + "-wal").stat().st_size, 6_000_000)

    def test_long_changes_are_kept_for_a_shorter_time(self) -> None:
        path = Path(self.mktemp())
        store = self.at(path, 10_000, 1_000_000)
        self.successResultOf(store.open())
        large = {"text": "x" * 4000}
        for number in range(0, 2000, 100):
            put = [row(f"r{place}", number + 1, meta=large) for place in range(100)]
            self.successResultOf(store.save(changes_after(number, *put)))
        self.pause(store)
        table = self.successResultOf(self.at(path).open())
        self.assertEqual(len(table.rows), 100)
        self.assertLess(len(table.changes), 520)
        self.assertGreater(len(table.changes), 200)

    def test_an_old_row_that_is_replaced_or_freed_goes_too(self) -> None:
        path = Path(self.mktemp())
        store = self.at(path, 500)
        self.successResultOf(store.open())
        old = changes_after(0, *(row(f"old{place}") for place in range(1000)))
        self.successResultOf(store.save(old))
        self.churned(store, 30)
        freed = changes_after(4000, *(freeing(change.row) for change in old))
        self.successResultOf(store.save(freed))
        self.pause(store)
        self.successResultOf(store.close())
        # What had not come to a whole step is found again by the next life.
        again = self.at(path, 500)
        self.successResultOf(again.open())
        self.pause(again)
        ((count,),) = self.connection(again).execute("select count(*) from changes").fetchall()
        self.assertLess(count, 500 + 100 + 3 * 256)


class BackupTests(SqliteRegistryCase):
    """A table that is put back (Note [The mark beside the table])."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()).with_suffix(".sqlite")
        self.first = self.life("a")
        self.backup = self.path.read_bytes()

    def life(self, *ids: str, closed: bool = True) -> SavedTable:
        """One life of the store, with a save for each of ``ids``; what it found."""
        store = self.at(self.path)
        table = self.successResultOf(store.open())
        for number, row_id in enumerate(ids, table.number):
            self.successResultOf(store.save(changes_after(number, row(row_id))))
        if closed:
            self.successResultOf(store.close())
        return table

    def ids(self, table: SavedTable) -> list[str]:
        return [each.id for each in table.rows]

    @property
    def mark(self) -> Path:
        return self.path.with_suffix(".mark")

    def test_an_older_table_starts_a_new_epoch_above_all_numbers_once(self) -> None:
        self.life("b", "c")
        self.path.write_bytes(self.backup)
        restored = self.life()
        self.assertTrue(restored.restored)
        self.assertNotEqual(restored.epoch, self.first.epoch)
        self.assertEqual((self.ids(restored), restored.number, restored.changes), (["a"], 4, ()))
        again = self.life("d")
        self.assertEqual((again.epoch, again.number, again.restored), (restored.epoch, 4, False))
        last = self.life()
        self.assertEqual((last.epoch, self.ids(last), len(last.changes)), (restored.epoch, ["a", "d"], 1))

    def test_putting_the_newer_one_back_again_is_found_out_too(self) -> None:
        self.life("b", "c")
        newer = self.path.read_bytes()
        self.path.write_bytes(self.backup)
        restored = self.life()
        self.path.write_bytes(newer)
        back = self.life()
        self.assertTrue(back.restored)
        self.assertNotIn(back.epoch, (restored.epoch, self.first.epoch))
        self.assertEqual((self.ids(back), back.number), (["a", "b", "c"], 5))

    def test_a_table_that_was_killed_is_the_same(self) -> None:
        self.life("b", closed=False)
        killed = self.life("c", closed=False)
        self.assertEqual((killed.restored, killed.epoch), (False, self.first.epoch))
        self.assertEqual(self.life().number, 3)

    def test_a_mark_that_came_a_save_late_is_no_restore(self) -> None:
        mark = self.mark.read_bytes()
        self.life("b")
        self.mark.write_bytes(mark)
        self.assertEqual(self.life().epoch, self.first.epoch)

    def test_a_directory_put_back_is_another_table(self) -> None:
        mark = self.mark.read_bytes()
        self.life("b")
        self.path.unlink()
        self.mark.unlink()
        self.path.write_bytes(self.backup)
        self.mark.write_bytes(mark)
        self.assertTrue(self.life().restored)

    def test_a_table_without_its_mark_is_another_table(self) -> None:
        for content in (None, b"", b"x" * 400):
            before = self.life("b")
            self.mark.unlink()
            if content is not None:
                self.mark.write_bytes(content)
            now = self.life()
            self.assertTrue(now.restored)
            self.assertNotEqual(now.epoch, before.epoch)
            self.assertGreater(now.number, before.number)

    def test_a_kill_before_the_first_mark_is_no_restore(self) -> None:
        path = self.path = Path(self.mktemp()).with_suffix(".sqlite")
        first = self.life()
        self.mark.unlink()
        self.assertEqual(self.life(), first)
        self.assertEqual(path, self.path)

    def test_a_kill_between_the_new_epoch_and_its_mark_starts_no_other_one(self) -> None:
        self.life("b")
        mark = self.mark.read_bytes()
        self.path.write_bytes(self.backup)
        restored = self.life()
        self.mark.write_bytes(mark)
        again = self.life()
        self.assertEqual((again.epoch, again.restored), (restored.epoch, False))

    def test_a_new_table_beside_an_old_mark_goes_on_above_it(self) -> None:
        self.life("b")
        self.path.unlink()
        new = self.life("c")
        self.assertNotEqual(new.epoch, self.first.epoch)
        self.assertEqual((new.number, new.rows, new.restored), (3, (), False))
        self.assertEqual(self.life().restored, False)

    def test_a_mark_that_cannot_be_written_is_refused(self) -> None:
        self.mark.unlink()
        self.mark.mkdir()
        self.assertIn("cannot open", self.sentence(self.at(self.path).open()))
