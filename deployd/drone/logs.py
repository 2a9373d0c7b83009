"""What the apps print, on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from twisted.logger import Logger

FILE_BYTES = 1_000_000
MAX_FILES = 400


class Logs:
    """``DIRECTORY/ID.log`` and, once that is full, ``ID.log.1``: at most twice a megabyte for each instance."""

    _log = Logger()

    def __init__(self, directory: Path, size: int = FILE_BYTES) -> None:
        self._directory = directory
        self._size = size
        self._files: dict[str, IO[bytes]] = {}
        self._failing = False

    def prepare(self) -> None:
        """Make the directory, and delete the oldest logs over 400; raise OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        newest = sorted(self._directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in newest[MAX_FILES:]:
            path.unlink(missing_ok=True)

    def of(self, id: str) -> Callable[[bytes], None]:
        """Where the output of instance ``id`` goes. A full disk loses lines; it stops no app."""

        def write(lines: bytes) -> None:
            try:
                self._write(id, lines)
                self._failing = False
            except OSError as error:
                if not self._failing:
                    self._log.warn("cannot write the log of {id}: {error}", id=id, error=error.strerror)
                self._failing = True

        return write

    def release(self, id: str) -> None:
        """Nothing more comes from this instance; its log stays."""
        file = self._files.pop(id, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        for id in list(self._files):
            self.release(id)

    def _write(self, id: str, lines: bytes) -> None:
        path = self._directory / f"{id}.log"
        file = self._files.get(id)
        if file is not None and file.tell() + len(lines) > self._size:
            self.release(id)
            path.replace(path.with_name(path.name + ".1"))
            file = None
        if file is None:
            # Unbuffered: what an app said before a kill is what one looks for.
            file = self._files[id] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", 0)
        file.write(lines)
