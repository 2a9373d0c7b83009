"""A daemon's own SQLite file: small transactions, each on disk when it is over, and a sentence for what goes wrong."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from deployd.errors import DeploydError, Refused


class LocalDatabase:
    """``path`` with ``schema``; ``shown`` is how errors name it. Every method blocks; ``connection`` is the database.

    It may be used by one thread after the other: each transaction holds a lock.
    """

    connection: sqlite3.Connection

    def __init__(self, path: Path, schema: str, shown: str) -> None:
        self.path = path
        self._schema = schema
        self._shown = shown
        self._lock = Lock()

    def open(self) -> None:
        """Make the file, readable to nobody else, where there is none. Raise sqlite3.Error, OSError."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
        self.connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.connection.execute("pragma journal_mode = wal")
        # What is acknowledged must survive a power cut, so every commit waits for the disk.
        self.connection.execute("pragma synchronous = full")
        self.connection.executescript(self._schema)

    @contextmanager
    def transaction(self, deed: str) -> Iterator[None]:
        """All of what is done in it, durably, or nothing; raise Refused (cannot ``deed`` in ...)."""
        with self.saying(deed):
            self.connection.execute("begin immediate")
            try:
                yield
                self.connection.execute("commit")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("rollback")
                raise

    @contextmanager
    def saying(self, deed: str) -> Iterator[None]:
        """As ``transaction``, for what needs none."""
        with self._lock:
            try:
                yield
            except DeploydError:
                raise
            except (sqlite3.Error, OSError) as error:
                raise Refused(f"cannot {deed} in {self._shown}{self.path}: {error}") from error

    def set_fact(self, name: str, value: str) -> None:
        """In a transaction, for a schema with FACTS."""
        self.connection.execute("insert or replace into facts (name, value) values (?, ?)", (name, value))

    def close(self) -> None:
        with self._lock:
            self.connection.close()


FACTS = "create table if not exists facts (name text primary key, value text not null) without rowid;"
