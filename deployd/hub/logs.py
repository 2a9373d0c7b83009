"""What instances have printed, as their drones have it: the hub keeps none of it."""

from __future__ import annotations

from typing import Any

from deployd.errors import UnknownCommit
from deployd.hub.commits import Commits
from deployd.hub.fleet import Fleet, unknown_drone
from deployd.hub.ledger import Ledger
from deployd.model.invalid import Invalid
from deployd.model.names import release_number, role_name, shown
from deployd.planning.placement import concerns
from deployd.wire.fleet import ReadLog

MAX_WAIT = 20.0
MAX_NEWEST = 10_000
MAX_RELEASES = 1000
GRACE = 10.0


class Logs:
    """A release that is gone has logs as long as a drone keeps them."""

    def __init__(self, ledger: Ledger, fleet: Fleet, commits: Commits) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._commits = commits

    async def sources(self, app: str, commit: str, drone: str) -> tuple[list[dict[str, Any]], list[str]]:
        """The drones that may have logs of ``app``, and the releases that ``commit`` means (wire.control.LogSources).

        Raise Invalid, UnknownApp, UnknownCommit, UnknownDrone.
        """
        await self._commits.check_app(app)
        releases = await self._releases(app, commit) if commit else []
        drones = self._ledger.desired.drones
        if drone and drone not in drones:
            raise unknown_drone(drone)
        names = [drone] if drone else sorted(name for name in drones if concerns(app, drones[name].description))
        return [{"name": name, "connected": self._fleet.is_connected(name)} for name in names], releases

    async def _releases(self, app: str, commit: str) -> list[str]:
        found = await self._commits.find(app, commit)
        if found.release is not None:
            return [found.release.name]
        of_app = self._ledger.desired.releases_of(app)
        names = [release.name for release in of_app if release.commit == found.commit]
        if not names:
            raise UnknownCommit(f"{app} has no release of commit {found.commit[:7]}; deploy it first")
        return names[-MAX_RELEASES:]

    async def read(
        self, drone: str, app: str, releases: tuple[str, ...], role: str, after: int, newest: int, wait: float
    ) -> dict[str, Any]:
        """What one drone has. Raise Invalid, UnknownApp, UnknownDrone, DroneAway."""
        await self._commits.check_app(app)
        if role:
            role_name(role)
        for release in releases:
            if release_number(release) is None:
                raise Invalid(f"{shown(release)} is not a release")
        wait = min(max(wait, 0.0), MAX_WAIT)
        asked = {"app": app, "releases": list(releases[:MAX_RELEASES]), "role": role, "after": max(after, -1)}
        asked |= {"newest": min(max(newest, 0), MAX_NEWEST), "wait": wait}
        return await self._fleet.ask(drone, ReadLog, asked, wait + GRACE)
