"""What the admin port shows: how the router stands and what it has counted, its workers together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import asdict, frozen

from deployd.model.route import Tally
from deployd.router.hub_link import HubLink
from deployd.router.registry_link import RegistryLink
from deployd.router.service import Router
from deployd.wire.workers import Gauge

# More routes or targets are not listed one by one: whoever looks would hold up everybody's requests.
MAX_LISTED = 2000


@frozen
class Figures:
    """``gauge`` gives what goes on now in all serving processes, ``workers`` how many of those there are."""

    router: Router
    hub: HubLink
    registry: RegistryLink
    gauge: Callable[[], Gauge]
    workers: Callable[[], int]

    @property
    def healthy(self) -> bool:
        """Whether requests are served: a table was loaded, or followed."""
        return self.router.has_table and self.workers() > 0

    def tallies(self) -> tuple[Tally, ...]:
        _, tallies = self.router.tallies(0)
        return tallies

    def targets(self) -> list[tuple[str, str, str, int]]:
        """Of each pool: app, release, role, and how many get requests."""
        return [(pool.app, pool.release, pool.role, len(pool.targets)) for pool in self.router.table.pools]

    def document(self) -> dict[str, Any]:
        """The status page as JSON."""
        table, standing = self.router.table, self.router.standing()
        routes, rows = len(table.hosts.routes), len(table.rows.targets)
        found: dict[str, Any] = {
            "healthy": self.healthy,
            "workers": self.workers(),
            "hub": {"connected": self.hub.connected},
            "registry": {"connected": self.registry.connected, "address": self.registry.address},
            "standing": asdict(standing),
            "now": asdict(self.gauge()),
            "counts": {"routes": routes, "targets": rows},
        }
        if max(routes, rows) <= MAX_LISTED:
            found |= {"table": table.document(), "tallies": [_tally(tally) for tally in self.tallies()]}
        return found


def _tally(tally: Tally) -> dict[str, Any]:
    seconds = round(tally.seconds / tally.requests, 6) if tally.requests else 0.0
    return {
        "route": str(tally.key),
        "release": tally.release,
        "requests": tally.requests,
        "errors": tally.errors,
        "mean": seconds,
    }
