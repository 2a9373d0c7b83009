"""Events as the hub tells them, and as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deployd.cli.cluster import MAX_PAGES, Cluster, Row
from deployd.cli.rendering import Table, cell, moment, table
from deployd.wire.control import Events

ALL = 10_000
# Much may change that is no event; so often is looked.
BREATH = 0.2


async def happened(cluster: Cluster, app: str, newest: int) -> list[Row]:
    """The newest events of ``app`` ("": of all), oldest first; raise UnknownApp."""
    rows: list[Row] = []
    await _told(cluster, app, newest, 0, rows.append)
    return rows


async def following(cluster: Cluster, app: str, newest: int, told: Callable[[Row], None]) -> None:
    """Tell those, and then every later one until the deadline; raise UnknownApp."""
    number, revision = await _told(cluster, app, newest, 0, told)
    while await cluster.change(revision):
        await cluster.pause(min(BREATH, cluster.remaining() / 4))
        number, revision = await _told(cluster, app, ALL, number, told)


async def _told(cluster: Cluster, app: str, newest: int, above: int, told: Callable[[Row], None]) -> tuple[int, int]:
    """Tell the ``newest`` with numbers above that; the number to go on from, and the revision to wait from."""
    revision = 0
    for page_number in range(MAX_PAGES):
        page = await cluster.call(Events, app=app, newest=newest, above=above)
        for row in page["rows"]:
            told(row)
        # What changes while the other pages are read must not be missed.
        revision = revision if page_number else page["revision"]
        above, newest = page["number"], ALL
        if not page["more"]:
            break
    return above, revision


def event_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    return table(rows, ("when", lambda row: moment(row.get("when"))), "what", "app", "detail", "who")


def event_line(row: Mapping[str, Any]) -> str:
    """``2026-11-26 22:30:00  route set  webapp  shop.example: webapp:http v1=1  (deployctl 0.1.0@192.0.2.1)``."""
    words = [moment(row.get("when")), *(cell(row.get(name)) for name in ("what", "app", "detail"))]
    return "  ".join([*(word for word in words if word), f"({cell(row.get('who'))})"])
