"""The hub's store in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from deployd.errors import Refused
from deployd.interfaces import MAX_EVENTS, Saved
from deployd.model.desired import Changes, Desired, Event, KnownDrone, Order
from deployd.model.drone import DroneDescription
from deployd.model.release import Release
from deployd.storage.codec import text_of, value_of

SCHEMA_VERSION = 1
_SCHEMA = (
    "create table meta (name text primary key, value text not null) without rowid",
    "create table apps (name text primary key) without rowid",
    "create table drones (name text primary key, owner text not null, labels text not null, description text not null,"
    " address text not null) without rowid",
    "create table releases (app text, number integer, commit_id text not null, state text not null,"
    " created real not null, body text not null, primary key (app, number)) without rowid",
    "create table orders (id text primary key, body text not null) without rowid",
    "create table events (number integer primary key autoincrement, moment real not null, what text not null,"
    " who text not null, app text not null, detail text not null)",
)

T = TypeVar("T")


def connection_pool(reactor: Any, path: Path) -> ConnectionPool:
    """One connection in one thread: transactions happen in the order of the calls."""
    return ConnectionPool(
        "sqlite3",
        str(path),
        check_same_thread=False,
        cp_min=1,
        cp_max=1,
        cp_noisy=False,
        cp_openfun=_configure,
        cp_reactor=reactor,
    )


class SqliteStore:
    """``pool`` connects to ``path``; a transaction is on disk when its Deferred fires."""

    def __init__(self, path: Path, pool: ConnectionPool) -> None:
        self._path = path
        self._pool = pool

    def open(self) -> Deferred[Saved]:
        return self._transaction("open", lambda cursor: _open(cursor, self._path))

    def save(self, changes: Changes) -> Deferred[None]:
        return self._transaction("save to", lambda cursor: _save(cursor, changes))

    def events(self, newest: int) -> Deferred[list[Event]]:
        return self._transaction("read", lambda cursor: _events(cursor, newest))

    def close(self) -> Deferred[None]:
        self._pool.close()
        return succeed(None)

    def _transaction(self, deed: str, work: Callable[[Any], T]) -> Deferred[T]:
        done: Deferred[T] = self._pool.runInteraction(work)
        return done.addErrback(self._refused, deed)

    def _refused(self, failure: Failure, deed: str) -> Any:
        if failure.check(sqlite3.Error, OSError):
            raise Refused(f"cannot {deed} the hub's state {self._path}: {failure.value}") from None
        return failure


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("pragma journal_mode = wal")
    # What is acknowledged must survive a power cut, so every commit waits for the disk.
    connection.execute("pragma synchronous = full")


def _open(cursor: sqlite3.Cursor, path: Path) -> Saved:
    cursor.execute("begin immediate")
    (version,) = cursor.execute("pragma user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise Refused(
            f"the hub's state {path} was written by a newer deployd (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); upgrade deployd or give another --state-dir"
        )
    if version == 0:
        for statement in _SCHEMA:
            cursor.execute(statement)
        cursor.execute("insert into meta values ('epoch', ?), ('opened', '0')", (uuid4().hex,))
        cursor.execute(f"pragma user_version = {SCHEMA_VERSION}")
        path.chmod(0o600)
    cursor.execute("update meta set value = value + 1 where name = 'opened'")
    meta = dict(cursor.execute("select name, value from meta").fetchall())
    return Saved(meta["epoch"], int(meta["opened"]), _desired(cursor, path))


def _desired(cursor: sqlite3.Cursor, path: Path) -> Desired:
    apps = cursor.execute("select name from apps").fetchall()
    drones = cursor.execute("select description, address from drones").fetchall()
    releases = cursor.execute("select body from releases").fetchall()
    orders = cursor.execute("select body from orders").fetchall()
    try:
        changes = Changes(
            apps=tuple(name for (name,) in apps),
            drones=tuple(KnownDrone(value_of(text, DroneDescription), address) for text, address in drones),
            releases=tuple(value_of(text, Release) for (text,) in releases),
            orders=tuple(value_of(text, Order) for (text,) in orders),
        )
    except Exception as error:  # cattrs raises groups of anything
        raise Refused(f"the hub's state {path} cannot be read: {type(error).__name__}") from error
    return Desired().after(changes)


def _save(cursor: sqlite3.Cursor, changes: Changes) -> None:
    cursor.executemany("insert or ignore into apps values (?)", [(name,) for name in changes.apps])
    cursor.executemany("delete from drones where name = ?", [(name,) for name in changes.forgotten])
    cursor.executemany("delete from orders where id = ?", [(id,) for id in changes.dropped])
    cursor.executemany("insert or replace into drones values (?, ?, ?, ?, ?)", map(_drone_row, changes.drones))
    cursor.executemany("insert or replace into releases values (?, ?, ?, ?, ?, ?)", map(_release_row, changes.releases))
    cursor.executemany(
        "insert or replace into orders values (?, ?)", [(order.id, text_of(order)) for order in changes.orders]
    )
    cursor.executemany(
        "insert into events (moment, what, who, app, detail) values (?, ?, ?, ?, ?)",
        [(event.when, event.what, event.who, event.app, event.detail) for event in changes.events],
    )
    cursor.execute("delete from events where number <= (select max(number) from events) - ?", (MAX_EVENTS,))


def _drone_row(drone: KnownDrone) -> tuple[str, ...]:
    labels = text_of(drone.description.labels, dict[str, str])
    return drone.name, drone.owner, labels, text_of(drone.description), drone.address


def _release_row(release: Release) -> tuple[Any, ...]:
    return release.app, release.number, release.commit, release.state.value, release.created, text_of(release)


def _events(cursor: sqlite3.Cursor, newest: int) -> list[Event]:
    cursor.execute("select moment, what, who, app, detail from events order by number desc limit ?", (max(0, newest),))
    return [Event(*row) for row in reversed(cursor.fetchall())]


def make_private(path: Path) -> None:
    """Make the file before SQLite does, readable by its owner only; raise OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
