"""What a drone must still know after a kill or a power cut."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from attrs import frozen

from deployd.errors import DeploydError, Refused
from deployd.model.instance import AssignedInstance
from deployd.model.revision import Revision
from deployd.wire.codec import from_json, to_json
from deployd.wire.documents import dump, load

_SCHEMA = """
create table if not exists facts (name text primary key, value text not null) without rowid;
create table if not exists instances (
    id text primary key,
    line text not null,
    epoch text not null,
    number integer not null,
    port integer not null default 0,
    pid integer not null default 0,
    created text not null default '',
    restarts integer not null default 0
) without rowid;
"""


@frozen
class Entry:
    """One instance: its line as a hub of ``epoch`` last assigned it in assignment ``number``, and its process.

    ``pid`` with ``created`` is the process that was started last (``deployd.processes.trees.ProcessRef``), 0 none.
    """

    line: AssignedInstance
    epoch: str
    number: int
    port: int = 0
    pid: int = 0
    created: str = ""
    restarts: int = 0


@frozen
class Contents:
    """All of a journal. ``revision`` is of the newest assignment; number 0: its hub has assigned nothing yet."""

    revision: Revision
    entries: tuple[Entry, ...]
    facts: dict[str, str]


class Journal:
    """An SQLite file; each method is one transaction that is on disk when it returns, and raises Refused if not.

    Every method blocks: the drone calls them in one thread of their own, so they happen in the order of the calls.
    Note [Nothing depends on the pid]: a kill can fall between the start of a process and ``started``, so leftovers are
    found by the PROCESS_ID in their environment; the saved pid only helps to find those that lost it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        with self._saying("open"):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)

    def read(self) -> Contents:
        with self._saying("read"):
            facts = dict(self._database.execute("select name, value from facts"))
            rows = self._database.execute(
                "select line, epoch, number, port, pid, created, restarts from instances order by id"
            ).fetchall()
        entries = tuple(Entry(from_json(load(row[0].encode()), AssignedInstance), *row[1:]) for row in rows)
        return Contents(Revision(facts.pop("epoch", ""), int(facts.pop("number", "0"))), entries, facts)

    def take(self, revision: Revision, lines: Iterable[AssignedInstance]) -> None:
        """Save a whole assignment. What it leaves out stays, as it was assigned, until it is forgotten."""
        with self._transaction("save the assignment"):
            self._set("epoch", revision.epoch)
            self._set("number", str(revision.number))
            self._database.executemany(
                "insert into instances (id, line, epoch, number) values (?, ?, ?, ?) on conflict (id) do update "
                "set line = excluded.line, epoch = excluded.epoch, number = excluded.number",
                [(line.id, dump(to_json(line)).decode(), revision.epoch, revision.number) for line in lines],
            )

    def started(self, id: str, port: int, pid: int, created: str, restarts: int) -> None:
        """Save the process that instance ``id`` now is; port 0 when it has none."""
        with self._transaction("save a process"):
            self._database.execute(
                "update instances set port = ?, pid = ?, created = ?, restarts = ? where id = ?",
                (port, pid, created, restarts, id),
            )

    def forget(self, id: str, until: Revision) -> None:
        """Delete an instance unless an assignment after ``until`` has it again."""
        with self._transaction("forget an instance"):
            self._database.execute(
                "delete from instances where id = ? and epoch = ? and number <= ?", (id, until.epoch, until.number)
            )

    def note(self, **facts: str) -> None:
        """Save facts by name; those called ``epoch`` and ``number`` belong to ``take``."""
        with self._transaction("save what the hub said"):
            for name, value in facts.items():
                self._set(name, value)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _set(self, name: str, value: str) -> None:
        self._database.execute("insert or replace into facts (name, value) values (?, ?)", (name, value))

    @contextmanager
    def _transaction(self, deed: str) -> Iterator[None]:
        with self._saying(deed):
            self._database.execute("begin immediate")
            try:
                yield
                self._database.execute("commit")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("rollback")
                raise

    @contextmanager
    def _saying(self, deed: str) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except DeploydError:
                raise
            except (sqlite3.Error, OSError) as error:
                raise Refused(f"cannot {deed} in the drone's journal {self._path}: {error}") from error
