"""Routes and their history as tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deployd.cli.rendering import COMMIT, Table, cell, moment, table

Row = Mapping[str, Any]
OPTIONS = ("sticky", "preview", "https")


def percents(shares: Sequence[tuple[str, int]]) -> str:
    """``v1 90% v2 10%``."""
    total = sum(weight for _, weight in shares)
    return " ".join(f"{release} {_percent(weight, total)}" for release, weight in shares)


def route_table(rows: Iterable[Row]) -> Table:
    """A line for each release of a route, so that errors and times can be compared."""
    return table(
        (line for row in rows for line in _lines(row)),
        *("host", "path", "app:role", "share", COMMIT, "ready", "requests", "errors"),
        ("p50", lambda line: _milliseconds(line.get("p50"))),
        ("p99", lambda line: _milliseconds(line.get("p99"))),
        "options",
    )


def history_table(rows: Iterable[Row]) -> Table:
    """A line for each setting, as the hub sends them: the newest last."""
    return table(
        rows,
        *("host", "path"),
        ("number", lambda row: row.get("number")),
        ("when", lambda row: moment(row.get("when"))),
        "who",
        ("what", _what),
        ("app:role", _target),
        ("shares", _shares),
        ("options", _options),
    )


def _lines(row: Row) -> Iterator[dict[str, Any]]:
    shares = row.get("shares") or []
    total = sum(share.get("weight", 0) for share in shares)
    for share in shares:
        yield {
            **share,
            "host": row.get("host"),
            "path": row.get("path"),
            "app:role": _target(row),
            "share": f"{cell(share.get('release'))} {_percent(share.get('weight', 0), total)}",
            "options": " ".join(part for part in (_options(row), _promotion(row.get("promotion"), share)) if part),
        }


def _target(row: Row) -> str:
    return f"{cell(row.get('app'))}:{cell(row.get('role'))}"


def _shares(row: Row) -> str:
    return percents([(cell(share.get("release")), share.get("weight", 0)) for share in row.get("shares") or ()])


def _options(row: Row) -> str:
    return " ".join(name for name in OPTIONS if row.get(name))


def _what(row: Row) -> str:
    what = cell(row.get("what"))
    return f"{what} to {row['back_to']}" if row.get("back_to") else what


def _promotion(promotion: Row | None, share: Row) -> str:
    if not promotion or promotion.get("release") != share.get("release"):
        return ""
    going = "paused" if promotion.get("paused") else f"every {promotion.get('every', 0):g} s"
    steps = ",".join(str(step) for step in promotion.get("steps") or ())
    return f"promote {steps}: step {cell(promotion.get('step'))}, {going}"


def _percent(weight: int, total: int) -> str:
    part = 100 * weight / total if total else 0.0
    if 0 < part < 0.1:
        return "<0.1%"
    return f"{part:.1f}".removesuffix(".0") + "%"


def _milliseconds(seconds: Any) -> str:
    return "" if seconds is None else f"{seconds * 1000:.4g} ms"
