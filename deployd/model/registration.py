"""One row of the port table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from json import JSONEncoder
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from math import isfinite
from typing import Any

from attrs import field, frozen

from deployd.model.invalid import Invalid
from deployd.model.names import app_name, drone_name, role_name, shown

Ports = dict[str, dict[str, list[dict[str, str | int]]]]

# The metadata of all rows that have none; nobody writes into a row's.
NO_META: dict[str, Any] = {}
MAX_META_BYTES = 4096
MAX_META_DEPTH = 8

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[A-Za-z0-9.+_-]{0,64}")
_PLAIN = (str, int)
_SMALL = 10**9
# More than the quotes, colon and comma around one item of an object, or than a small number.
_BETWEEN = 10
# A character outside of Unicode's first plane is two escapes of six characters.
_ESCAPED = 12
# What ``json.dumps`` makes anew for each value, which takes it as long as all else.
_pieces = c_make_encoder(None, JSONEncoder().default, encode_basestring_ascii, None, ": ", ", ", False, False, True)
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,255}")


@frozen
class Registration:
    """A process that listens.

    ``namespace`` is the commit for what drones run; ``meta`` is a JSON object within bounds; ``owner`` is the identity
    (a UUID) of whoever may change the row; ``revision`` is the registry's number when the row last changed (0 until the
    registry has taken it).
    """

    id: str
    namespace: str
    role: str
    host: str
    port: int
    app: str = ""
    release: str = ""
    drone: str = ""
    version: str = ""
    meta: dict[str, Any] = field(factory=dict, hash=False)
    owner: str = ""
    revision: int = 0


def checked(row: Registration) -> Registration:
    """``row`` if a registry may take it, else raise Invalid.

    ``host``, ``owner``, ``drone`` and ``revision`` are not looked at: the registry fills them in itself.
    """
    # An id that was made of the role would be blamed for it.
    _check_words(row.namespace, row.role, row.app, row.release, row.version)
    _check(_ID, row.id, "a registration's id: use up to 128 letters, digits, '.', '_', ':' and '-'")
    if not 0 < row.port < 65536:
        raise Invalid(f"{row.id}: a port is a number from 1 to 65535, not {str(row.port)[:20]}")
    if row.meta and not _is_small(row.meta):
        _check_meta(row)
    return row


# Thousands of rows share these; what is refused is not remembered, so each is short.
@lru_cache(maxsize=4096)
def _check_words(namespace: str, role: str, app: str, release: str, version: str) -> None:
    namespace_name(namespace)
    role_name(role)
    if app:
        app_name(app)
    _check(_VERSION, release, "a release")
    _check(_VERSION, version, "a version: use up to 64 letters, digits, '.', '+', '_' and '-'")


def _is_small(meta: dict[str, Any]) -> bool:
    """Whether it is so small and flat that it needs no closer look; this is asked of each row that is written."""
    size = 0
    for key, value in meta.items():
        if type(key) is not str:
            return False
        if type(value) is str:
            size += len(key) + len(value) + _BETWEEN
        elif type(value) is int and -_SMALL < value < _SMALL:
            size += len(key) + 2 * _BETWEEN
        else:
            return False
    return size * _ESCAPED <= MAX_META_BYTES


def _check_meta(row: Registration) -> None:
    if not _is_json(row.meta, MAX_META_DEPTH):
        raise Invalid(f"{row.id}: metadata is JSON, nested up to {MAX_META_DEPTH} deep, and numbers in it are finite")
    # Measured as pure ASCII, so that any text in it, lone surrogates too, can be written wherever JSON can.
    if meta_bytes(row) > MAX_META_BYTES:
        raise Invalid(f"{row.id}: the metadata is longer than {MAX_META_BYTES} bytes as JSON")


def meta_bytes(row: Registration) -> int:
    """How long the row's metadata is, as it is bounded."""
    return sum(map(len, _pieces(row.meta, 0))) if row.meta else 0


def _is_json(value: Any, depth: int) -> bool:
    """Whether JSON can say ``value``, within ``depth`` levels of lists and objects."""
    if value is None or isinstance(value, _PLAIN):
        return True
    if isinstance(value, float):
        return isfinite(value)
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item, depth - 1) for key, item in value.items())
    return isinstance(value, list) and all(_is_json(item, depth - 1) for item in value)


def namespace_name(text: str) -> str:
    """Return ``text`` if it can name a namespace, else raise Invalid."""
    return _check(_NAMESPACE, text, "a namespace: use up to 100 letters, digits, '.', '_' and '-'")


def host_name(text: str) -> str:
    """Return ``text`` if a row's host can be that name or IP address, else raise Invalid."""
    return _check(_HOST, text, "a host: write a name or an IP address, without port")


def owner_name(text: str) -> str:
    """Return ``text`` if an owner can show that name in its rows, else raise Invalid."""
    return drone_name(text) if text else ""


def _check(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise Invalid(f"{shown(text)} is not {what}")
    return text


def port_table(rows: Iterable[Registration]) -> Ports:
    """``{COMMIT: {ROLE: [{"host": H, "port": N}]}}``, all sorted (docs/reference, ``ports --json``)."""
    table: Ports = {}
    for row in sorted(rows, key=lambda row: (row.namespace, row.role, row.host, row.port)):
        table.setdefault(row.namespace, {}).setdefault(row.role, []).append({"host": row.host, "port": row.port})
    return table
