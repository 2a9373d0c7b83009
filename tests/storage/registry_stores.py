"""Registry stores without threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from deployd.storage.registry_file import TableFile
from deployd.storage.registry_sqlite import SqliteRegistryStore


class InlineThread:
    """A Writer that does it all at once."""

    def __init__(self, tidy: Callable[[bool], bool]) -> None:
        self._tidy = tidy

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done = maybeDeferred(function, *arguments)
        self._tidy(False)
        return done

    def close(self) -> None: ...


class QuickFile(TableFile):
    """A TableFile for tests that kill no machine: what was saved need not be on the disk."""

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("pragma synchronous = off")
        return connection


def inline_store(file: TableFile) -> SqliteRegistryStore:
    return SqliteRegistryStore(file, InlineThread(file.tidy))
