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
from deployd.interfaces import MAX_EVENTS, OPENED, SAVED, Saved
from deployd.model.config import Config
from deployd.model.desired import Changes, Desired, Event, KnownDrone, Order
from deployd.model.drone import DroneDescription
from deployd.model.extra import Extra
from deployd.model.policy import AppPolicy, Policy
from deployd.model.release import Release
from deployd.model.route import Route
from deployd.model.router import KnownRouter
from deployd.storage.codec import text_of, value_of
from deployd.storage.mark import read_mark, write_mark
from deployd.storage.schema import SCHEMA_VERSION, bring_up

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
    """``pool`` connects to ``path``; a transaction is on disk when its Deferred fires.

    Note [The mark beside the store]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    A file beside the database has the counter as of its last open. It is written after that open is saved, so a
    database that is behind it is not the one that was opened then: somebody has put back an older one. A mark that is
    missing or behind (a kill came between) says nothing.
    """

    def __init__(self, path: Path, pool: ConnectionPool) -> None:
        self._path = path
        self._pool = pool

    def open(self, restored: Event) -> Deferred[Saved]:
        return self._transaction("open", lambda cursor: _open(cursor, self._path, restored)).addCallback(self._mark)

    def save(self, changes: Changes, epoch: str = "") -> Deferred[int]:
        return self._transaction("save to", lambda cursor: _save(cursor, changes, epoch))

    def events(self, newest: int, app: str = "", above: int = 0, first: int = MAX_EVENTS) -> Deferred[list[Event]]:
        return self._transaction("read", lambda cursor: _events(cursor, newest, app, above, first))

    def close(self) -> Deferred[None]:
        self._pool.close()
        return succeed(None)

    def _mark(self, saved: Saved) -> Deferred[Saved]:
        marking = self._transaction("open", lambda cursor: write_mark(self._path, saved.counter))
        return marking.addCallback(lambda _: saved)

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


def _open(cursor: sqlite3.Cursor, path: Path, restored: Event) -> Saved:
    cursor.execute("begin immediate")
    (version,) = cursor.execute("pragma user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise Refused(
            f"the hub's state {path} was written by a newer deployd (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); upgrade deployd or give another --state-dir"
        )
    try:
        bring_up(cursor, version)
    except (ExceptionGroup, TypeError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error
    if version == 0:
        path.chmod(0o600)
    behind = read_mark(path) - _counted(cursor, 0)
    is_restored = version > 0 and behind > 0
    if is_restored:
        _start_epoch(cursor, uuid4().hex)
        _add_events(cursor, (restored,))
        # The mark never falls, so that putting the other database back again is found out too.
        _counted(cursor, behind)
    counter = _counted(cursor, OPENED)
    ((epoch,),) = cursor.execute("select value from meta where name = 'epoch'").fetchall()
    return Saved(epoch, counter, _desired(cursor, path), is_restored)


def _counted(cursor: sqlite3.Cursor, more: int) -> int:
    """The counter, ``more`` higher than before."""
    cursor.execute("update meta set value = value + ? where name = 'counter'", (more,))
    ((value,),) = cursor.execute("select value from meta where name = 'counter'").fetchall()
    return int(value)


def _start_epoch(cursor: sqlite3.Cursor, epoch: str) -> None:
    cursor.execute("update meta set value = ? where name = 'epoch'", (epoch,))


def _desired(cursor: sqlite3.Cursor, path: Path) -> Desired:
    def rows(columns: str, table: str) -> list[Any]:
        return cursor.execute(f"select {columns} from {table}").fetchall()

    try:
        changes = Changes(
            apps=tuple(name for (name,) in rows("name", "apps")),
            drones=tuple(
                KnownDrone(value_of(text, DroneDescription), address, bool(draining))
                for text, address, draining in rows("description, address, draining", "drones")
            ),
            releases=tuple(value_of(text, Release) for (text,) in rows("body", "releases")),
            orders=tuple(value_of(text, Order) for (text,) in rows("body", "orders")),
            routes=tuple(value_of(text, Route) for (text,) in rows("body", "routes")),
            policies=tuple(AppPolicy(app, value_of(text, Policy)) for app, text in rows("app, body", "policies")),
            routers=tuple(KnownRouter(id, name) for id, name in rows("id, name", "routers")),
            configs=tuple(value_of(text, Config) for (text,) in rows("body", "configs")),
            extras=tuple(value_of(text, Extra) for (text,) in rows("body", "extras")),
        )
    except Exception as error:  # cattrs raises groups of anything
        raise _unreadable(path, error) from error
    return Desired().after(changes)


def _unreadable(path: Path, error: Exception) -> Refused:
    return Refused(f"the hub's state {path} cannot be read: {type(error).__name__}")


def _save(cursor: sqlite3.Cursor, changes: Changes, epoch: str) -> int:
    many = cursor.executemany
    many("insert or ignore into apps values (?)", [(name,) for name in changes.apps])
    many("delete from drones where name = ?", [(name,) for name in changes.forgotten])
    many("delete from orders where id = ?", [(id,) for id in changes.dropped])
    many("delete from routes where host = ? and path = ?", [(key.host, key.path) for key in changes.unrouted])
    many("delete from routers where id = ?", [(id,) for id in changes.departed])
    many("delete from configs where app = ? and number = ?", changes.outdated)
    many("delete from extras where name = ?", [(name,) for name in changes.ended])
    many("insert or replace into drones values (?, ?, ?, ?, ?, ?)", map(_drone_row, changes.drones))
    many("insert or replace into releases values (?, ?, ?, ?, ?, ?)", map(_release_row, changes.releases))
    many("insert or replace into orders values (?, ?)", [(order.id, text_of(order)) for order in changes.orders])
    many("insert or replace into routes values (?, ?, ?)", map(_route_row, changes.routes))
    many(
        "insert or replace into policies values (?, ?)", [(each.app, text_of(each.policy)) for each in changes.policies]
    )
    many("insert or replace into routers values (?, ?)", [(router.id, router.name) for router in changes.routers])
    many("insert or replace into configs values (?, ?, ?)", [(*each.key, text_of(each)) for each in changes.configs])
    many("insert or replace into extras values (?, ?)", [(extra.name, text_of(extra)) for extra in changes.extras])
    _add_events(cursor, changes.events)
    if epoch:
        _start_epoch(cursor, epoch)
    return _counted(cursor, SAVED)


def _add_events(cursor: sqlite3.Cursor, events: tuple[Event, ...]) -> None:
    cursor.executemany(
        "insert into events (moment, what, who, app, detail) values (?, ?, ?, ?, ?)",
        [(event.when, event.what, event.who, event.app, event.detail) for event in events],
    )
    cursor.execute("delete from events where number <= (select max(number) from events) - ?", (MAX_EVENTS,))


def _drone_row(drone: KnownDrone) -> tuple[Any, ...]:
    labels = text_of(drone.description.labels, dict[str, str])
    return drone.name, drone.owner, labels, text_of(drone.description), drone.address, int(drone.draining)


def _route_row(route: Route) -> tuple[str, ...]:
    return route.key.host, route.key.path, text_of(route)


def _release_row(release: Release) -> tuple[Any, ...]:
    return release.app, release.number, release.commit, release.state.value, release.created, text_of(release)


def _events(cursor: sqlite3.Cursor, newest: int, app: str, above: int, first: int) -> list[Event]:
    columns = "moment, what, who, app, detail, number"
    found = f"select {columns} from events where number > ? and ? in ('', app) order by number desc limit ?"
    cursor.execute(f"select {columns} from ({found}) order by number limit ?", (above, app, max(0, newest), first))
    return [Event(*row) for row in cursor.fetchall()]


def make_private(path: Path) -> None:
    """Make the file before SQLite does, readable by its owner only; raise OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
