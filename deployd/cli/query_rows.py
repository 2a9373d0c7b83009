"""Asking the registry for rows, and waiting for some."""

from __future__ import annotations

from typing import Any

from deployd.cli.cluster import REDIAL, Cluster
from deployd.cli.query_words import Pattern
from deployd.client.reader import query
from deployd.errors import Unreachable
from deployd.net.peer import Peer

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
            rows = await query(registry, wanted.rows, meta=wanted.meta, near=near, wait=min(left, WAIT))
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
