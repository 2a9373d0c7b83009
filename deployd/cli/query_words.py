"""What a person asks the port table for: ``ROLE[@RANGE]``, ``--meta K=V``, ``--field``; and what a row shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from deployd.cli.rendering import Table, cell, printable, short, table
from deployd.client.reader import Wanted
from deployd.errors import UsageError
from deployd.model.address import Address
from deployd.model.names import app_name, is_commit, role_name, shown

Row = Mapping[str, Any]

FIELDS = (
    "id",
    "namespace",
    "app",
    "release",
    "role",
    "version",
    "host",
    "port",
    "drone",
    "meta",
    "owner",
    "revision",
    "marked",
)
META = "meta."


@frozen
class Pattern:
    """``rows`` as the registry reads them, the range too; each key of ``meta`` must have that value."""

    rows: Wanted = field(factory=Wanted)
    meta: Mapping[str, Any] = field(factory=dict)

    @classmethod
    def parse(
        cls,
        match: str | None = None,
        namespace: str | None = None,
        app: str | None = None,
        release: str | None = None,
        meta: Sequence[str] = (),
    ) -> Pattern:
        """Raise Invalid, UsageError."""
        if match:
            role_name(match.partition("@")[0])
        return cls(Wanted(match or "", namespace or "", app_name(app) if app else "", release or ""), metadata(meta))

    @property
    def text(self) -> str:
        """As a sentence names it."""
        parts = [self.rows.match or "any role"]
        parts += [f"{name} {value}" for name in ("namespace", "app", "release") if (value := getattr(self.rows, name))]
        parts += [f"{key}={json.dumps(value)}" for key, value in self.meta.items()]
        return ", ".join(parts)


def metadata(words: Iterable[str]) -> dict[str, Any]:
    """``K=V`` each: V as the JSON it is, else as text. Raise UsageError."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{shown(word)} is not metadata: write KEY=VALUE")
        if key in found:
            raise UsageError(f"--meta gives {shown(key)} twice")
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return text


def _refused(constant: str) -> None:
    """``NaN`` is no JSON, whatever Python says."""
    raise ValueError(constant)


def fields(text: str | None) -> tuple[str, ...]:
    """``host,port,meta.zone``; raise UsageError."""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in FIELDS and not (name.startswith(META) and name != META):
            raise UsageError(f"a row has no {shown(name)}; it has {', '.join(FIELDS)}, and meta.KEY")
    return names


def taken(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Those fields of a row; None where metadata has no such key."""
    return {name: _taken(row, name) for name in names}


def _taken(row: Row, name: str) -> Any:
    return row.get(name) if name in FIELDS else dict(row.get("meta") or {}).get(name.removeprefix(META))


def field_line(row: Row, names: Iterable[str]) -> str:
    """The values with tabs between them: text as it is, anything else as JSON, nothing for what is not there."""
    return "\t".join(_plain(_taken(row, name)) for name in names)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(printable(value).split()) if isinstance(value, str) else json.dumps(value)


def query_table(rows: Iterable[Row]) -> Table:
    return table(
        rows,
        "role",
        "version",
        ("address", address),
        ("namespace", namespace),
        "app",
        "release",
        "meta",
        "id",
        ("state", lambda row: "away" if row.get("marked") else ""),
    )


def named(row: Row) -> str:
    """``http@1.2.3``."""
    version = cell(row.get("version"))
    return cell(row.get("role")) + (f"@{version}" if version else "")


def address(row: Row) -> str:
    return str(Address(str(row.get("host")), int(row.get("port") or 0)))


def namespace(row: Row) -> str:
    """A commit as everywhere, other names whole."""
    name = cell(row.get("namespace"))
    return short(name) if is_commit(name) else name
