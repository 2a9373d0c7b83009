"""Rows as text: tables, JSON, sentences. Pure; the terminal is ``output.py``'s."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

Row = Mapping[str, Any]
SHORT = 7


@frozen
class Table:
    """Cells as text; every row has as many as ``header``."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Of each column that of its widest cell."""
        return tuple(max(map(len, cells)) for cells in zip(self.header, *self.rows, strict=True))


Column = tuple[str, Callable[[Row], Any]]


def table(rows: Iterable[Row], *columns: str | Column) -> Table:
    """Columns are keys of the rows, or (title, function of the row)."""
    named = [(column, _key(column)) if isinstance(column, str) else column for column in columns]
    header = tuple(title.upper() for title, _ in named)
    return Table(header, tuple(tuple(cell(value(row)) for _, value in named) for row in rows))


def plain(shown: Table) -> str:
    """Aligned columns two spaces apart, the header first."""
    lines, widths = [shown.header, *shown.rows], shown.widths
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def json_text(document: Any) -> str:
    return json.dumps(document, indent=2)


def cell(value: Any) -> str:
    """One value on one line; nothing for None, nothing, and empty maps."""
    if value is None or value == "" or value == {} or value == []:
        return ""
    if isinstance(value, Mapping):
        return ",".join(f"{cell(key)}={cell(value[key])}" for key in sorted(value))
    if isinstance(value, list | tuple):
        return ",".join(cell(item) for item in value)
    return printable(str(value)).replace("\n", " ")


def printable(text: str) -> str:
    """``text`` without what would move a terminal's cursor or colours; apps and peers wrote it, not the person."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def short(commit: Any) -> str:
    return str(commit)[:SHORT]


COMMIT: Column = ("commit", lambda row: short(row.get("commit") or ""))


def nonzero(name: str) -> Column:
    """A number that is shown only where there is one: 0 is no port and no pid."""
    return name, lambda row: row.get(name) or ""


def moment(seconds: Any) -> str:
    """Seconds since 1970 as this machine's date and time."""
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return ""


def named_release(app: str, release: str, commit: str) -> str:
    """``webapp v1 (74336bc)``."""
    return f"{app} {release} ({short(commit)})"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def drone_line(row: Row) -> str:
    """One drone of a deploy: ``d1: failed: it ended with code 1``."""
    reason = cell(row.get("reason"))
    return f"{cell(row.get('drone'))}: {cell(row.get('state'))}" + (f": {reason}" if reason else "")


def indented(text: str) -> str:
    """Output of an app as part of ours."""
    return "\n".join(f"  | {line}" for line in printable(text).rstrip("\n").split("\n")) if text.strip() else ""


def outline(document: Row) -> str:
    """A document of a few values as lines ``name: value``; maps in it are indented below their name."""
    return "\n".join(_outline(document, ""))


def _outline(document: Row, indent: str) -> Sequence[str]:
    lines: list[str] = []
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{cell(name)}:", *_outline(value, indent + "  ")]
        else:
            lines.append(f"{indent}{cell(name)}: {cell(value)}".rstrip())
    return lines


def _key(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)
