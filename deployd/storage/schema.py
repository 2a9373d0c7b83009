"""The tables of the hub's SQLite file, and how one of an earlier deployd becomes the present one."""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from attrs import evolve

from deployd.interfaces import SAVED
from deployd.model.release import Release, ReleaseState
from deployd.storage.codec import text_of, value_of

SCHEMA_VERSION = 4
_FIRST = (
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
_THIRD = (
    "alter table drones add column draining integer not null default 0",
    "create table routes (host text, path text, body text not null, primary key (host, path)) without rowid",
    "create table policies (app text primary key, body text not null) without rowid",
    "create table routers (id text primary key, name text not null) without rowid",
)
_FOURTH = (
    "create table configs (app text, number integer, body text not null, primary key (app, number)) without rowid",
    "create table extras (name text primary key, body text not null) without rowid",
)


def bring_up(cursor: sqlite3.Cursor, version: int) -> None:
    """Make the tables of a store of ``version`` (0: a new one) the present ones; nothing that it holds is lost."""
    if version == 0:
        _execute(cursor, _FIRST)
        cursor.execute("insert into meta values ('epoch', ?), ('counter', '0')", (uuid4().hex,))
    if version == 1:
        cursor.execute("update meta set name = 'counter', value = value * ? where name = 'opened'", (SAVED,))
    if version < 3:
        _execute(cursor, _THIRD)
        _say_good(cursor)
    if version < 4:
        _execute(cursor, _FOURTH)
    cursor.execute(f"pragma user_version = {SCHEMA_VERSION}")


def _execute(cursor: sqlite3.Cursor, statements: tuple[str, ...]) -> None:
    for statement in statements:
        cursor.execute(statement)


def _say_good(cursor: sqlite3.Cursor) -> None:
    """When a deploy succeeded was not kept; what runs must not be taken for what never was good."""
    for text, app, number in cursor.execute("select body, app, number from releases").fetchall():
        release = value_of(text, Release)
        if release.state is ReleaseState.DEPLOYED or release.settled is not None:
            body = text_of(evolve(release, good=release.created))
            cursor.execute("update releases set body = ? where app = ? and number = ?", (body, app, number))
