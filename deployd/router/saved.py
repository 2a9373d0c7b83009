"""The last good table on disk, from which a router serves while hub and registry are away.

Note [Nothing here is the router's own]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Hub and registry own all of it, so a file that cannot be read is put aside, and the router starts as a new one does. A
change of the table is one transaction, as small as the change; a kill at any instant leaves the one before or this one.
Rows are saved a moment late, as nobody is promised anything about them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from deployd.errors import DeploydError
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.router import TableItem
from deployd.router.row_fields import fields_of, row_of
from deployd.storage.local import FACTS, LocalDatabase
from deployd.wire.codec import from_json, to_json
from deployd.wire.documents import dump, load

_SCHEMA = f"""
{FACTS}
create table if not exists items (key text primary key, item text not null) without rowid;
create table if not exists rows (id text primary key, row text not null) without rowid;
"""
_TABLE, _REGISTRY = "table's revision", "registry's revision"
_NEVER = Revision("", 0)


@frozen
class Contents:
    """``table`` is the revision that the hub gave ``items``, ``registry`` the one of ``rows``; number 0: none yet."""

    table: Revision
    items: tuple[TableItem, ...]
    registry: Revision
    rows: tuple[Registration, ...]
    facts: dict[str, str]


class Saved:
    """An SQLite file; each method is one transaction that is on disk when it returns, and raises Refused if not.

    Every method blocks: they are called in one thread, so they happen in the order of the calls.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._database = LocalDatabase(path, _SCHEMA, "")
        with self._database.saying("open"):
            try:
                self._database.open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._put_aside(error)

    def read(self) -> Contents:
        """What was saved; where it makes no sense, nothing."""
        with self._database.saying("read"):
            try:
                return self._read()
            except (sqlite3.DatabaseError, DeploydError, ValueError) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._put_aside(error)
                return self._read()

    def follow(self, revision: Revision, base: int, items: Iterable[TableItem]) -> None:
        """Save what the hub said: all of it if ``base`` is 0, else what has changed."""
        with self._database.transaction("save the routes"):
            # Those two kinds are whole lists in every update.
            which = (
                ""
                if not base
                else " where key >= 'leaving ' and key < 'leaving!' or key >= 'retiring ' and key < 'retiring!'"
            )
            self._database.connection.execute("delete from items" + which)
            for item in items:
                if item.gone is not None or item.lost:
                    self._database.connection.execute("delete from items where key = ?", (_key(item),))
                else:
                    text = dump(to_json(item)).decode("utf-8", "surrogatepass")
                    self._database.connection.execute("insert or replace into items values (?, ?)", (_key(item), text))
            self._set(_TABLE, revision)

    def change_rows(self, put: Iterable[Registration], gone: Iterable[str], revision: Revision) -> None:
        with self._database.transaction("save the rows"):
            self._database.connection.executemany("delete from rows where id = ?", ((id,) for id in gone))
            self._put(put)
            self._set(_REGISTRY, revision)

    def note(self, **facts: str) -> None:
        """Save what the hub said of itself."""
        with self._database.transaction("save what the hub said"):
            for name, value in facts.items():
                self._database.set_fact(name, value)

    def close(self) -> None:
        self._database.close()

    def _put_aside(self, error: Exception) -> None:
        path = self._database.path
        aside = path.with_suffix(".broken")
        said = "the saved table cannot be read ({error}); it is now {aside}, and the router waits for a new one"
        self._log.error(said, error=error, aside=str(aside))
        self._database.connection.close()
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.rename(aside)
        self._database.open()

    def _read(self) -> Contents:
        facts = {
            str(name): str(value) for name, value in self._database.connection.execute("select name, value from facts")
        }
        items = tuple(
            from_json(load(text.encode("utf-8", "surrogatepass")), TableItem)
            for (text,) in self._database.connection.execute("select item from items order by key")
        )
        rows = tuple(
            row_of(load(text.encode("utf-8", "surrogatepass")))
            for (text,) in self._database.connection.execute("select row from rows")
        )
        return Contents(_revision(facts.pop(_TABLE, "")), items, _revision(facts.pop(_REGISTRY, "")), rows, facts)

    def _put(self, rows: Iterable[Registration]) -> None:
        texts = ((row.id, dump(fields_of(row)).decode("utf-8", "surrogatepass")) for row in rows)
        self._database.connection.executemany("insert or replace into rows values (?, ?)", texts)

    def _set(self, name: str, revision: Revision) -> None:
        self._database.set_fact(name, f"{revision.number} {revision.epoch}")


def _key(item: TableItem) -> str:
    """The same for what puts a thing and for what takes it away."""
    route = item.gone or (item.route.key if item.route else None)
    if route is not None:
        return f"route {route.host} {route.path}"
    if item.drone is not None or item.lost:
        return f"drone {item.drone.owner if item.drone else item.lost}"
    return f"leaving {item.leaving}" if item.leaving else f"retiring {item.retiring}"


def _revision(text: str) -> Revision:
    number, _, epoch = text.partition(" ")
    return Revision(epoch, int(number)) if number else _NEVER
