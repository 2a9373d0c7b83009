"""A registry's store in one SQLite file, written by a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from deployd.interfaces import SavedTable
from deployd.model.row_change import RowChange
from deployd.storage.registry_file import TableFile
from deployd.storage.writer import Writer


class Thread(Protocol):
    """What the store needs of a Writer: a test may do without the thread."""

    def run(self, function: Any, *arguments: Any) -> Deferred[Any]: ...
    def close(self) -> None: ...


class SqliteRegistryStore:
    """``file``, used by ``thread`` alone, which also tidies it."""

    def __init__(self, file: TableFile, thread: Thread) -> None:
        self._file = file
        self._thread = thread

    def open(self) -> Deferred[SavedTable]:
        return self._thread.run(self._file.open)

    def save(self, changes: Sequence[RowChange]) -> Deferred[None]:
        return self._thread.run(self._file.save, tuple(changes))

    def close(self) -> Deferred[None]:
        closing = self._thread.run(self._file.close)
        self._thread.close()
        return closing


def sqlite_registry_store(reactor: Any, path: Path) -> SqliteRegistryStore:
    """The store in ``path``; nothing happens before it is opened."""
    file = TableFile(path)
    return SqliteRegistryStore(file, Writer(reactor, "registry table", file.tidy))
