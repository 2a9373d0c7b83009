"""What a drone must still know after a kill or a power cut."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from deployd.model.instance import AssignedInstance
from deployd.model.revision import Revision
from deployd.storage.local import FACTS, LocalDatabase
from deployd.wire.codec import from_json, to_json
from deployd.wire.documents import dump, load

_SCHEMA = f"""
{FACTS}
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
        self._database = LocalDatabase(path, _SCHEMA, "the drone's journal ")
        with self._database.saying("open"):
            self._database.open()

    def read(self) -> Contents:
        with self._database.saying("read"):
            facts = dict(self._database.connection.execute("select name, value from facts"))
            rows = self._database.connection.execute(
                "select line, epoch, number, port, pid, created, restarts from instances order by id"
            ).fetchall()
        entries = tuple(Entry(from_json(load(row[0].encode()), AssignedInstance), *row[1:]) for row in rows)
        return Contents(Revision(facts.pop("epoch", ""), int(facts.pop("number", "0"))), entries, facts)

    def take(self, revision: Revision, lines: Iterable[AssignedInstance]) -> None:
        """Save a whole assignment. What it leaves out stays, as it was assigned, until it is forgotten."""
        with self._database.transaction("save the assignment"):
            self._database.set_fact("epoch", revision.epoch)
            self._database.set_fact("number", str(revision.number))
            self._database.connection.executemany(
                "insert into instances (id, line, epoch, number) values (?, ?, ?, ?) on conflict (id) do update "
                "set line = excluded.line, epoch = excluded.epoch, number = excluded.number",
                [(line.id, dump(to_json(line)).decode(), revision.epoch, revision.number) for line in lines],
            )

    def started(self, id: str, port: int, pid: int, created: str, restarts: int) -> None:
        """Save the process that instance ``id`` now is; port 0 when it has none."""
        with self._database.transaction("save a process"):
            self._database.connection.execute(
                "update instances set port = ?, pid = ?, created = ?, restarts = ? where id = ?",
                (port, pid, created, restarts, id),
            )

    def forget(self, id: str, until: Revision) -> None:
        """Delete an instance unless an assignment after ``until`` has it again."""
        with self._database.transaction("forget an instance"):
            self._database.connection.execute(
                "delete from instances where id = ? and epoch = ? and number <= ?", (id, until.epoch, until.number)
            )

    def note(self, **facts: str) -> None:
        """Save facts by name; those called ``epoch`` and ``number`` belong to ``take``."""
        with self._database.transaction("save what the hub said"):
            for name, value in facts.items():
                self._database.set_fact(name, value)

    def close(self) -> None:
        self._database.close()
