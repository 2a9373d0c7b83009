"""What a reader asks the port table for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from json import dumps, loads
from typing import Any

from attrs import evolve, field, frozen

from deployd.model.invalid import Invalid
from deployd.model.names import is_commit, role_name, shown
from deployd.model.registration import MAX_META_BYTES, MAX_META_DEPTH, Registration
from deployd.planning.versions import VersionRange, version_range

MAX_META_KEYS = 16
# Longer than any name of a namespace, an app or a release, and than APP:vN.
MAX_WORD = 300

_PREFIX = re.compile(r"[0-9a-f]{4,39}")

# Wanted metadata: each key with its value as JSON; hashable, as filters are compared and looked up.
Wanted = tuple[tuple[str, str], ...]


@frozen
class RowFilter:
    """Every part that is not empty must hold; ``namespace`` may also be a prefix of a commit, from 4 characters.

    Only commits are found by prefix: nobody can slip rows into a lookup by naming a namespace like one. ``versions`` is
    a range as npm writes it; a row without a semantic version is in none. Each key of ``meta`` must have that value.
    """

    namespace: str = ""
    app: str = ""
    release: str = ""
    role: str = ""
    versions: str = ""
    meta: Wanted = ()
    # What ``versions`` means, found out once: a filter is held against many rows.
    _range: VersionRange | None = field(init=False, eq=False, repr=False)

    @_range.default
    def _range_of_versions(self) -> VersionRange | None:
        return version_range(self.versions) if self.versions else None

    @classmethod
    def parse(
        cls,
        match: str = "",
        namespace: str = "",
        app: str = "",
        release: str = "",
        meta: Mapping[str, Any] | None = None,
    ) -> RowFilter:
        """``match`` is ``ROLE[@RANGE]`` or "" for all roles; raise Invalid."""
        role, at, versions = match.partition("@")
        if match:
            role_name(role)
        if at:
            version_range(versions)
        for text in (namespace, app, release):
            _bounded(text)
        return cls(namespace, app, release, role, versions.strip() or "*" if at else "", _wanted(meta or {}))

    @property
    def exact_namespace(self) -> str:
        """The one namespace that can match; "" when several can."""
        return "" if _PREFIX.fullmatch(self.namespace) else self.namespace

    def takes_namespace(self, namespace: str) -> bool:
        if not self.namespace or namespace == self.namespace:
            return True
        is_prefix = _PREFIX.fullmatch(self.namespace) is not None and namespace.startswith(self.namespace)
        return is_prefix and is_commit(namespace)

    def takes(self, row: Registration) -> bool:
        return self.takes_namespace(row.namespace) and self.takes_rest(row)

    def takes_rest(self, row: Registration) -> bool:
        """``takes`` for a row whose namespace was looked at already."""
        return (
            (not self.role or row.role == self.role)
            and (not self.app or row.app == self.app)
            and (not self.release or row.release == self.release)
            and (self._range is None or self._range.takes(row.version))
            and (not self.meta or _has(row.meta, self.meta))
        )


@frozen
class Near:
    """Whose own rows come first: a namespace, or the release ``APP:vN``."""

    namespace: str = ""
    app: str = ""
    release: str = ""

    @classmethod
    def parse(cls, text: str) -> Near:
        """Raise Invalid."""
        app, colon, release = _bounded(text).rpartition(":")
        if not colon:
            return cls(namespace=text)
        if not app or not release:
            raise Invalid(f"{shown(text)} is neither a namespace nor a release: write COMMIT or APP:vN")
        return cls(app=app, release=release)

    def narrowed(self, wanted: RowFilter) -> RowFilter | None:
        """``wanted`` looked for among the near ones only; None when nobody said who is near."""
        if not (self.namespace or self.app):
            return None
        return evolve(
            wanted,
            namespace=self.namespace or wanted.namespace,
            app=self.app or wanted.app,
            release=self.release or wanted.release,
        )

    def has(self, row: Registration) -> bool:
        if self.app:
            return row.app == self.app and row.release == self.release
        return bool(self.namespace) and row.namespace == self.namespace


def _bounded(text: str) -> str:
    """``text``; raise Invalid where no row can have it. What somebody waits for is kept meanwhile."""
    if len(text) > MAX_WORD:
        raise Invalid(f"{shown(text)} is too long for a name that a row has")
    return text


def _wanted(meta: Mapping[str, Any]) -> Wanted:
    if not isinstance(meta, Mapping):
        raise Invalid("metadata is looked for by an object: a value for each key")
    if len(meta) > MAX_META_KEYS:
        raise Invalid(f"metadata is looked for by up to {MAX_META_KEYS} keys, not {len(meta)}")
    try:
        wanted = tuple(sorted((str(key), _text(value)) for key, value in meta.items()))
    except (ValueError, TypeError, RecursionError):
        raise Invalid(f"metadata is looked for by JSON, nested up to {MAX_META_DEPTH} deep") from None
    if any(len(key) > MAX_META_BYTES or len(text) > MAX_META_BYTES for key, text in wanted):
        raise Invalid(f"metadata is looked for by values of up to {MAX_META_BYTES} bytes, as no row has longer ones")
    return wanted


def _has(meta: Mapping[str, Any], wanted: Wanted) -> bool:
    return all(key in meta and _is_value(meta[key], text) for key, text in wanted)


def _is_value(value: Any, text: str) -> bool:
    """Whether ``value`` is the JSON ``text``; what is no text may be asked for by its JSON as a text as well."""
    plain, otherwise = _readings(text)
    if isinstance(value, str):
        return value == plain
    return _text(value) in (text, otherwise)


@lru_cache(maxsize=1024)
def _readings(text: str) -> tuple[str | None, str | None]:
    """Of a wanted text: itself, and the JSON that it may be as well; None where there is none."""
    wanted = loads(text)
    if not isinstance(wanted, str):
        return None, None
    try:
        return wanted, _text(loads(wanted))
    except (ValueError, TypeError, RecursionError):
        return wanted, None


def _text(value: Any) -> str:
    """The one JSON text of all values that are equal: 3.0 is 3, true is not 1, the order of keys does not count.

    Raise ValueError, TypeError.
    """
    return dumps(_alike(value, MAX_META_DEPTH), sort_keys=True, allow_nan=False)


def _alike(value: Any, depth: int) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if not isinstance(value, dict | list):
        return value
    if not depth:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_alike(item, depth - 1) for item in value]
    return {key: _alike(item, depth - 1) for key, item in value.items()}
