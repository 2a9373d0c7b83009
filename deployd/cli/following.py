"""A change of routes is done when every live router follows it."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from deployd.cli.cluster import Cluster, Row
from deployd.cli.rendering import cell, counted
from deployd.cli.settling import Settled
from deployd.errors import Unreachable
from deployd.wire.control import RouteStatus

# A router that does not follow by then is named; the change is saved, and the router told when it can be.
PATIENCE = 5.0
NOT_FOLLOWED = 1
NAMED = 5


@frozen
class Followed:
    """Where the routers stand: so many are live; ``waiting`` are rows ``{router reason}`` of those not there yet."""

    routers: int
    waiting: tuple[Row, ...]

    def settled(self, done: str, document: dict[str, Any]) -> Settled:
        """The end of a command that did ``done``."""
        document = {**document, "routers": self.routers, "waiting": [dict(row) for row in self.waiting]}
        if self.waiting:
            undone = f"{done}; but not every router follows yet: {self._held_up()}"
            return Settled((), (undone,), document, NOT_FOLLOWED)
        return Settled((f"{done}; {self._sentence()}",), (), document, 0)

    def _sentence(self) -> str:
        if not self.routers:
            return "no router is there yet"
        return f"{counted(self.routers, 'router')} {'follows' if self.routers == 1 else 'follow'}"

    def _held_up(self) -> str:
        named = [f"{cell(row.get('router'))}: {cell(row.get('reason'))}" for row in self.waiting[:NAMED]]
        more = len(self.waiting) - len(named)
        return ", ".join([*named, f"and {more} more"] if more else named)


async def following(cluster: Cluster) -> Followed:
    """Wait until every live router follows the routes as they are now, PATIENCE seconds at most."""
    end = cluster.clock.seconds() + PATIENCE
    while True:
        try:
            status = await cluster.call(RouteStatus)
            followed = Followed(status["routers"], tuple(status["waiting"]))
            if not followed.waiting or not await _changed(cluster, status["revision"], end):
                return followed
        except Unreachable as error:
            raise type(error)(f"the change is saved; whether every router follows is not known: {error}") from None


async def _changed(cluster: Cluster, revision: int, end: float) -> bool:
    left: float = end - cluster.clock.seconds()
    return left > 0 and await cluster.change(revision, within=left)
