"""What a drone must still know after a kill or a power cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import field, frozen

from deployd.drone.life import Life
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
    life text not null default ''
) without rowid;
"""


@frozen
class Entry:
    """One instance: its line as a hub of ``epoch`` last assigned it in assignment ``number``, and its process."""

    line: AssignedInstance
    epoch: str
    number: int
    life: Life = field(factory=Life)


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
            self._bring_up()

    def read(self) -> Contents:
        with self._database.saying("read"):
            facts = dict(self._database.connection.execute("select name, value from facts"))
            rows = self._database.connection.execute(
                "select line, epoch, number, life from instances order by id"
            ).fetchall()
        entries = tuple(
            Entry(from_json(load(line.encode()), AssignedInstance), epoch, number, _life(life))
            for line, epoch, number, life in rows
        )
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

    def save(self, lives: Mapping[str, Life]) -> None:
        """Save the process that each of these instances now is, all in one transaction."""
        with self._database.transaction("save a process"):
            self._database.connection.executemany(
                "update instances set life = ? where id = ?", [(_text(life), id) for id, life in lives.items()]
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

    def _bring_up(self) -> None:
        """A journal of before the keeper has columns in place of lives."""
        connection = self._database.connection
        columns = {row[1] for row in connection.execute("pragma table_info(instances)")}
        if "life" in columns:
            return
        connection.execute("begin immediate")
        connection.execute("alter table instances add column life text not null default ''")
        rows = connection.execute("select id, port, pid, created, restarts from instances").fetchall()
        lives = [(_text(Life(port, pid, created, restarts)), id) for id, port, pid, created, restarts in rows]
        connection.executemany("update instances set life = ? where id = ?", lives)
        for column in ("port", "pid", "created", "restarts"):
            connection.execute(f"alter table instances drop column {column}")
        connection.execute("commit")


def _text(life: Life) -> str:
    return dump(to_json(life)).decode()


def _life(text: str) -> Life:
    return from_json(load(text.encode()), Life) if text else Life()
