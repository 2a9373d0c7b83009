"""What is kept, and where: pins, policies, and machines that are emptied."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from deployd.errors import Refused, UsageError
from deployd.hub.commits import Commits
from deployd.hub.fleet import Fleet, unknown_drone
from deployd.hub.ledger import NOTHING, Ledger
from deployd.model.desired import Changes, Desired, KnownDrone
from deployd.model.names import app_name
from deployd.model.policy import AppPolicy, Policy
from deployd.model.release import Release
from deployd.planning.draining import loss

MAX_VALUES = 100


class Upkeep:
    def __init__(self, ledger: Ledger, fleet: Fleet, commits: Commits) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._commits = commits

    async def pin(self, app: str, text: str, pinned: bool, who: str) -> Release:
        """Save whether a release may be retired. Raise Invalid, UnknownApp, UnknownCommit, Refused."""
        release = await self._commits.release(app_name(app), text)

        def decide(desired: Desired) -> Changes:
            known = desired.releases[release.key]
            if known.pinned == pinned:
                return NOTHING
            if pinned and not known.state.wanted:
                raise Refused(f"{known.name} is {known.state.value}; deploy it before you pin it")
            event = self._ledger.event("pin" if pinned else "unpin", who, app, f"{known.name} {known.commit}")
            return Changes(releases=(evolve(known, pinned=pinned),), events=(event,))

        await self._ledger.change(decide)
        return release

    async def set_policy(self, app: str, values: Mapping[str, str], who: str) -> Policy:
        """Save ``values`` of an app; its policy then. Raise Invalid, UnknownApp, UnknownCommit, UsageError, Refused."""
        if len(values) > MAX_VALUES:
            raise UsageError(f"at most {MAX_VALUES} settings can be given at once")
        await self._commits.check_app(app)
        branch = Policy().with_values(values).default_branch
        if branch:
            # First, as there may be no such branch.
            await self._commits.set_head(app, branch)

        def decide(desired: Desired) -> Changes:
            policy = desired.policy(app).with_values(values)
            if policy == desired.policy(app):
                return NOTHING
            what = " ".join(f"{key}={value}" for key, value in sorted(values.items()))
            event = self._ledger.event("app set", who, app, what)
            return Changes(policies=(AppPolicy(app, policy),), events=(event,))

        await self._ledger.change(decide)
        return self._ledger.desired.policy(app)

    async def drain(self, name: str, force: bool, who: str) -> None:
        """Save that nothing is wanted on a drone any more.

        Raise UnknownDrone, or Refused: a route would lose its last ready instance of something (not with ``force``).
        """

        def decide(desired: Desired) -> Changes:
            drone = _known(desired, name)
            if drone.draining:
                return NOTHING
            if not force:
                self._check(desired, name)
            return self._changed(drone, True, "drain", who)

        await self._ledger.change(decide)

    async def undrain(self, name: str, who: str) -> None:
        """Save that a drone is used again; raise UnknownDrone, Refused."""

        def decide(desired: Desired) -> Changes:
            drone = _known(desired, name)
            return self._changed(drone, False, "undrain", who) if drone.draining else NOTHING

        await self._ledger.change(decide)

    def _check(self, desired: Desired, name: str) -> None:
        if desired.routes and self._fleet.is_expected(name):
            raise Refused(f"{name} has not come back since the hub was started; try again in a moment, or --force")
        seen = {other: self._fleet.seen(other) for other in {name, *self._fleet.connected}}
        found = loss(desired, name, seen)
        if found is not None:
            raise Refused(
                f"{name} has the last ready {found.role} of {found.release}, to which {found.route.key} sends requests;"
                " deploy it to another drone first, or --force"
            )

    def _changed(self, drone: KnownDrone, draining: bool, what: str, who: str) -> Changes:
        event = self._ledger.event(what, who, detail=drone.name)
        return Changes(drones=(evolve(drone, draining=draining),), events=(event,))


def _known(desired: Desired, name: str) -> KnownDrone:
    if name not in desired.drones:
        raise unknown_drone(name)
    return desired.drones[name]
