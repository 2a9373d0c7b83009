"""Where a registry's table is, from one life of the registry to the next."""

from __future__ import annotations

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


class MemoryPlace:
    def __init__(self) -> None:
        self._table = MemoryTable()

    def store(self) -> RegistryStore:
        return MemoryRegistryStore(self._table, max_changes=20)

    def clean(self, all: bool = False) -> None: ...


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
