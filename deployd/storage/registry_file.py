"""The port table in one SQLite file; everything here blocks.

Note [The table is a log]
~~~~~~~~~~~~~~~~~~~~~~~~~
A row's revision is the number of the change that put it, so the rows are those changes that no later one has replaced:
one table holds both, by number. To save is to append, in one statement: the pages written are the newest ones however
many rows there are, and the thread asks for the interpreter once. The price is that what was replaced has to be cleared
away (``tidy``): changes are kept while they are among the newest, and then only those that are rows.

Note [The mark beside the table]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Numbers that somebody was told must not come again for something else. A table that was put back from a backup would do
just that, so a file beside it has the newest number as of a moment ago, the epoch, and which file the table is in. It
is written after what it tells of is on disk; a table that is behind its mark has lost something, and starts a new epoch
above the mark's number. So does one that is not in the file, or not of the epoch, that the mark tells of, and one whose
mark is gone or cannot be read: a new epoch costs those who follow a snapshot, and a wrong old one what they know. What
is not found out: a whole disk put back, with table and mark as they were.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from uuid import uuid4

from deployd.errors import Busy, Refused, Superseded
from deployd.interfaces import SavedTable
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.storage.registry_kept import STEP, Kept
from deployd.storage.registry_mark import Mark, MarkFile, identity_of
from deployd.storage.registry_text import changes_of, text_of_changes

SCHEMA_VERSION = 1
MAX_CHANGES = 50_000
MAX_BYTES = 64_000_000
# So many steps of tidying may wait for a pause; what goes beyond is done between saves.
MAX_WAITING = 20
# So much in the WAL is taken over into the file in a pause, and so much between saves. The WAL is then written from its
# beginning again: a file that does not grow is on disk in half the time.
CHECKPOINT_BYTES = 500_000
MAX_WAL_BYTES = 4_000_000
_PAGE = 4096
_SLICE = 1000

_SCHEMA = (
    "create table meta (epoch text not null, begun integer not null)",
    "create table changes (number integer primary key, body text not null)",
    f"pragma user_version = {SCHEMA_VERSION}",
)
_NUMBER = "select max((select begun from meta), coalesce((select max(number) from changes), 0))"
_APPEND = f"insert into changes select ?1 + 1 + key, value from json_each(?2) where ({_NUMBER}) = ?1"
# The newest change, above a number, before which one is missing: what the number before it is.
_LAST_GAP = (
    "select max(number) - 1 from changes as one where number > ? + 1"
    " and not exists (select 1 from changes where number = one.number - 1)"
)


class TableFile:
    """``path``, opened; one thread uses it. About ``max_changes`` and ``max_bytes`` of the newest changes are kept."""

    def __init__(self, path: Path, max_changes: int = MAX_CHANGES, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._mark = MarkFile(path)
        self._marked = Mark("", 0, 0)
        self._connection: sqlite3.Connection | None = None
        self._kept = Kept(0, max_changes, max_bytes)
        # About how many bytes are in the WAL, and how many steps the last save makes necessary.
        self._in_wal = 0
        self._owed = 0

    # What the store does.

    def open(self) -> SavedTable:
        """Raise Refused and one sentence."""
        self.close()
        try:
            connection = self._connect()
            restored = self._begin(connection)
            table = self._loaded(connection, restored)
            self._mark.sync()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise Refused(f"cannot open the registry's table {self.path}: {error}") from error
        except (ValueError, TypeError) as error:
            self.close()
            raise Refused(f"the registry's table {self.path} is damaged: {error}") from error
        except BaseException:
            self.close()
            raise
        return table

    def save(self, changes: Sequence[RowChange]) -> None:
        """Raise Busy, Superseded; nothing was done then."""
        if not changes:
            return
        size = self._append(changes)
        self._owed = 1 + 2 * len(changes) // STEP
        self._in_wal += _PAGE + size
        for change in changes:
            self._kept.add(change, size // len(changes))

    def tidy(self, idle: bool) -> bool:
        """Do a step of what can wait, if ``idle`` or too much waits; whether there is more."""
        connection = self._connection
        if connection is None:
            return False
        try:
            self._write_mark(self._kept.number)
            if idle:
                return self._step(connection) or self._checkpoint(connection, CHECKPOINT_BYTES)
            while self._owed > 0 and self._kept.steps > MAX_WAITING:
                self._owed -= 1
                self._step(connection)
            self._checkpoint(connection, MAX_WAL_BYTES)
        except (sqlite3.Error, OSError):
            # The next save meets the same disk, and says so.
            return False
        return True

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._mark.close()
        if connection is not None:
            connection.close()

    # Opening.

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._connection = connection
        connection.execute("pragma journal_mode = wal")
        # What is acknowledged must survive a power cut, so every commit waits for the disk.
        connection.execute("pragma synchronous = full")
        connection.execute("pragma wal_autocheckpoint = 4000")
        connection.execute(f"pragma journal_size_limit = {4 * MAX_WAL_BYTES}")
        return connection

    def _begin(self, connection: sqlite3.Connection) -> bool:
        """Make the tables where there are none; whether the table was put back, and has a new epoch now."""
        mark = self._mark.open()
        file = identity_of(self.path)
        connection.execute("begin immediate")
        ((version,),) = connection.execute("pragma user_version").fetchall()
        if version > SCHEMA_VERSION:
            raise Refused(
                f"the registry's table {self.path} was written by a newer deployd (schema {version}, this one knows"
                f" {SCHEMA_VERSION}); upgrade deployd or give another --state-dir"
            )
        restored = False
        if version == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
            _start_epoch(connection, mark.number + 1 if mark else 0)
        else:
            ((epoch, begun, number),) = connection.execute(f"select epoch, begun, ({_NUMBER}) from meta").fetchall()
            restored = _is_put_back(Mark(epoch, number, file), begun, mark)
            if restored:
                _start_epoch(connection, max(number, mark.number if mark else 0) + 1)
        connection.execute("commit")
        ((epoch, number),) = connection.execute(f"select epoch, ({_NUMBER}) from meta").fetchall()
        self._marked = Mark(epoch, -1, file)
        self._write_mark(number)
        return restored

    def _loaded(self, connection: sqlite3.Connection, restored: bool) -> SavedTable:
        ((epoch, number, begun),) = connection.execute(f"select epoch, ({_NUMBER}), begun from meta").fetchall()
        floor = max(begun, number - self._max_changes)
        ((gap,),) = connection.execute(_LAST_GAP, (floor,)).fetchall()
        floor = floor if gap is None else gap
        self._kept = Kept(floor, self._max_changes, self._max_bytes)
        rows: dict[str, Registration] = {}
        newest: list[RowChange] = []
        try:
            cursor = connection.execute("select number, body from changes order by number")
            while texts := cursor.fetchmany(_SLICE):
                for change, (_, text) in zip(changes_of(texts), texts, strict=True):
                    self._kept.add(change, len(text))
                    rows.pop(change.row.id, None)
                    if not change.freed:
                        rows[change.row.id] = change.row
                    if change.number > floor:
                        newest.append(change)
        except (TypeError, ValueError, RecursionError) as error:
            raise Refused(f"the registry's table {self.path} cannot be read: {type(error).__name__}") from error
        return SavedTable(epoch, number, tuple(rows.values()), tuple(newest), restored)

    # Saving.

    def _append(self, changes: Sequence[RowChange]) -> int:
        """How long they are as text. Nobody else gets the interpreter while a part is made into text."""
        before = number = changes[0].number - 1
        size = 0
        try:
            connection = self._connection or self._connect()
            with _together(connection, len(changes) > _SLICE):
                for start in range(0, len(changes), _SLICE):
                    part = changes[start : start + _SLICE]
                    text = text_of_changes(part)
                    if connection.execute(_APPEND, (number, text)).rowcount != len(part):
                        raise Superseded(f"somebody else has written to the registry's table {self.path}")
                    number += len(part)
                    size += len(text)
        except (sqlite3.Error, OSError) as error:
            self._find_out(before, error)
            raise Busy(f"cannot save to the registry's table {self.path}: {error}") from error
        return size

    def _find_out(self, before: int, error: Exception) -> None:
        """A disk that fails does not say what it has kept: read anew. Raise Superseded if it has kept the changes."""
        if self._connection is None or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            return
        self._connection.close()
        self._connection = None
        try:
            ((number,),) = self._connect().execute(_NUMBER).fetchall()
        except (sqlite3.Error, OSError):
            # The next save looks again.
            return
        if number != before:
            raise Superseded(f"the registry's table {self.path} must be read anew: {error}") from error

    # Tidying (Note [The table is a log]).

    def _step(self, connection: sqlite3.Connection) -> bool:
        """Whether there was something to do."""
        kept = self._kept
        if dead := kept.dead:
            delete = "delete from changes where number in (select value from json_each(?))"
            connection.execute(delete, (dumps(dead),))
            kept.deleted(len(dead))
            self._in_wal += len(dead) * _PAGE // 8
            return True
        return kept.rise()

    def _checkpoint(self, connection: sqlite3.Connection, limit: int) -> bool:
        if self._in_wal > limit:
            connection.execute("pragma wal_checkpoint(passive)").fetchall()
            self._in_wal = 0
            self._mark.sync()
        return False

    def _write_mark(self, number: int) -> None:
        if number != self._marked.number:
            self._marked = Mark(self._marked.epoch, number, self._marked.file)
            self._mark.write(self._marked)


@contextmanager
def _together(connection: sqlite3.Connection, several: bool) -> Iterator[None]:
    """Several statements in one transaction; a single one is one by itself."""
    if several:
        connection.execute("begin immediate")
    try:
        yield
        if several:
            connection.execute("commit")
    finally:
        if connection.in_transaction:
            connection.execute("rollback")


def _start_epoch(connection: sqlite3.Connection, begun: int) -> None:
    connection.execute("delete from meta")
    connection.execute("insert into meta values (?, ?)", (uuid4().hex, begun))


def _is_put_back(now: Mark, begun: int, mark: Mark | None) -> bool:
    """Whether the table, which is as ``now`` says, is not the one that had ``mark`` written."""
    if mark is None:
        return now.number > begun
    if mark.epoch != now.epoch:
        # A kill between the beginning of an epoch and its first mark.
        return begun <= mark.number
    return mark.number > now.number or mark.file != now.file
