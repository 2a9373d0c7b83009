"""Asking the registry for rows, and waiting for some."""

from __future__ import annotations

from typing import Any

from deployd.cli.cluster import MAX_PAGES, REDIAL, Cluster
from deployd.cli.query_words import Pattern
from deployd.errors import Malformed, Unreachable
from deployd.net.peer import CALL_TIMEOUT, Peer
from deployd.wire.lookup import Query

# The registry lets nobody wait for longer in one call.
WAIT = 55.0

Row = dict[str, Any]


async def queried(cluster: Cluster, wanted: Pattern, near: str = "", wait: float = 0.0) -> list[Row]:
    """The rows that match, those near first; where there are none, as soon as there are, or none after ``wait``.

    Raise Unreachable at once where there is no registry; one that goes away meanwhile is dialled again, in time.
    """
    end = cluster.clock.seconds() + wait
    registry = await cluster.registry()
    while True:
        left = max(0.0, end - cluster.clock.seconds())
        try:
            rows = await _rows(registry, wanted, near, min(left, WAIT))
            if rows or left <= 0:
                return rows
        except Unreachable:
            if left <= 0:
                raise
            registry.transport.abortConnection()
            registry = await _again(cluster, end)


async def _again(cluster: Cluster, end: float) -> Peer:
    while True:
        try:
            return await cluster.registry()
        except Unreachable:
            if cluster.clock.seconds() + REDIAL >= end:
                raise
            await cluster.pause(REDIAL)


async def _rows(registry: Peer, wanted: Pattern, near: str, wait: float) -> list[Row]:
    rows: list[Row] = []
    after = ""
    for _ in range(MAX_PAGES):
        page = await query_page(registry, wanted, near, wait, after)
        rows += page["rows"]
        after, wait = page["next"], 0.0
        if not after:
            return rows
    raise Malformed(f"the registry has more than {MAX_PAGES} pages of such rows; ask for fewer")


async def query_page(registry: Peer, wanted: Pattern, near: str = "", wait: float = 0.0, after: str = "") -> Row:
    page: Row = await registry.call(
        Query,
        timeout=wait + CALL_TIMEOUT,
        match=wanted.match,
        namespace=wanted.namespace,
        app=wanted.app,
        release=wanted.release,
        meta=dict(wanted.meta),
        near=near,
        wait=wait,
        after=after,
    )
    if not isinstance(page["rows"], list) or not all(isinstance(row, dict) for row in page["rows"]):
        raise Malformed("the registry's rows are not what the protocol asks for")
    return page
