"""Where a registry's table is, from one life of the registry to the next."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

from deployd.interfaces import RegistryStore
from deployd.storage.registry_file import TableFile
from deployd.storage.registry_memory import MemoryRegistryStore, MemoryTable
from tests.storage.registry_stores import QuickFile, inline_store


class Place(Protocol):
    def store(self) -> RegistryStore:
        """For a new life; what was there before was killed or closed."""
        ...

    def clean(self, all: bool = False) -> None:
        """The newest life has begun, or ``all`` are over: let go of what was killed."""
        ...

    def back_up(self) -> None:
        """Take a copy of the table, in the place of the last one."""
        ...

    def put_back(self) -> None:
        """The copy is the table again; nobody has it open."""
        ...


class MemoryPlace:
    def __init__(self) -> None:
        self._table = MemoryTable()

    def store(self) -> RegistryStore:
        return MemoryRegistryStore(self._table, max_changes=20)

    def clean(self, all: bool = False) -> None: ...

    def back_up(self) -> None:
        self._copy = (self._table.epoch, self._table.number, dict(self._table.rows), list(self._table.changes))

    def put_back(self) -> None:
        """As a store that finds out."""
        epoch, number, rows, changes = self._copy
        table = self._table
        if (epoch, number) == (table.epoch, table.number):
            self._table = MemoryTable(epoch, number, dict(rows), list(changes))
        else:
            self._table = MemoryTable(number=table.number + 1, rows=dict(rows))


class SqlitePlace:
    """The file of a killed process stays open until the next one has read it: nobody tidies up after a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[TableFile] = []

    def store(self) -> RegistryStore:
        self._files.append(QuickFile(self._path, max_changes=20))
        return inline_store(self._files[-1])

    def clean(self, all: bool = False) -> None:
        while len(self._files) > (0 if all else 1):
            self._files.pop(0).close()

    def back_up(self) -> None:
        copy, table = sqlite3.connect(":memory:"), sqlite3.connect(self._path)
        table.backup(copy)
        self._copy = copy.serialize()
        copy.close()
        table.close()

    def put_back(self) -> None:
        self._path.write_bytes(self._copy)
        for name in ("-wal", "-shm"):
            self._path.with_name(self._path.name + name).unlink(missing_ok=True)
