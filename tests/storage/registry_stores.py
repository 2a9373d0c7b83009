"""Registry stores without threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
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


def inline_store(path: Path, max_changes: int = 1000) -> tuple[SqliteRegistryStore, TableFile]:
    file = TableFile(path, max_changes)
    return SqliteRegistryStore(file, InlineThread(file.tidy)), file
