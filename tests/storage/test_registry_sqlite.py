"""The registry's store in SQLite, without its thread (tests/integration has it with one)."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.storage.registry_file import TableFile
from deployd.storage.registry_sqlite import SqliteRegistryStore
from tests.storage.registry_store_contract import RegistryStoreContract
from tests.storage.registry_stores import inline_store


class SqliteRegistryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.files: dict[SqliteRegistryStore, TableFile] = {}

    def tearDown(self) -> None:
        for file in self.files.values():
            file.close()

    def at(self, path: Path, max_changes: int = 1000) -> SqliteRegistryStore:
        store, file = inline_store(path, max_changes)
        self.files[store] = file
        return store


class SqliteRegistryStoreTests(RegistryStoreContract, SqliteRegistryCase):
    def new(self, max_changes: int = 1000) -> SqliteRegistryStore:
        return self.at(Path(self.mktemp()), max_changes)

    def reopened(self, store: SqliteRegistryStore) -> SqliteRegistryStore:
        return self.at(self.files[store].path)
