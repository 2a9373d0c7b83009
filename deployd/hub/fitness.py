"""Whether a release can be given requests as it stands now."""

from __future__ import annotations

from collections import Counter

from attrs import evolve

from deployd.errors import Refused, UsageError
from deployd.hub.fleet import Fleet
from deployd.model.desired import Desired
from deployd.model.instance import State
from deployd.model.names import shown
from deployd.model.release import Release, ReleaseState
from deployd.planning.placement import is_stopped, runs
from deployd.planning.rollout import Verdict, statuses, summary, verdict

RoleOf = tuple[str, str, str]
"""An app, a release's name, a role."""

_OVER = {
    ReleaseState.FAILED: "its deploy has failed; deploy it again first",
    ReleaseState.RETIRING: "it is being retired; deploy it again first",
    ReleaseState.RETIRED: "it is retired; deploy it again first",
}


class Fitness:
    """Asked under the ledger's lock, with the state that a change is decided on."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def check(self, desired: Desired, release: Release, role: str, force: bool) -> None:
        """Raise Refused unless ``release`` can take requests in ``role``; UsageError where it has no such role.

        ``force`` allows one that is below its need, or not deployed yet.
        """
        name = f"{release.app} {release.name}"
        if not release.state.wanted:
            raise Refused(f"{name} gets no requests: {_OVER[release.state]}")
        self._check_role(desired, release, role)
        problem = "" if force else self.problem(desired, release, role)
        if problem:
            raise Refused(f"{name} gets no requests: {problem}; --force gives it some all the same")

    def problem(self, desired: Desired, release: Release, role: str) -> str:
        """Why a release is not good enough to be given more requests, as the end of a sentence; "" when it is."""
        if release.state is not ReleaseState.DEPLOYED:
            return "it is still being deployed" if release.state.wanted else _OVER[release.state]
        # A drone that was told of something else a moment ago has not answered yet; what it has it has all the same.
        views = {name: evolve(view, current=True) for name, view in self._fleet.views().items()}
        rows = statuses(desired, release, views)
        if verdict(release.need, rows) is not Verdict.MET:
            return f"it is below what its deploy needed: {summary(release.need, rows)}"
        if not self.ready(desired)[release.app, release.name, role]:
            return f"no instance of it is ready in role {role}"
        return ""

    def check_targets(self, desired: Desired, app: str, releases: tuple[str, ...], role: str) -> None:
        """Raise Refused unless each of ``releases`` has something that answers now."""
        ready = self.ready(desired)
        for name in releases:
            found = next((release for release in desired.releases_of(app) if release.name == name), None)
            if found is None or not found.state.wanted:
                raise Refused(f"{app} {name} is not there any more; deploy it first")
            if not ready[app, name, role]:
                raise Refused(f"no instance of {app} {name} is ready in role {role}")

    def ready(self, desired: Desired) -> Counter[RoleOf]:
        """How many instances are ready on connected drones and not ordered to end: that counts once it is saved."""
        drones = desired.drones
        return Counter(
            (one.app, one.release, one.role)
            for name in self._fleet.connected
            if name in drones and not drones[name].draining
            for one in self._fleet.seen(name).values()
            if one.state is State.READY and not is_stopped(desired, one.id)
        )

    def _check_role(self, desired: Desired, release: Release, role: str) -> None:
        selector = release.selector
        chosen = [drone for drone in desired.drones.values() if selector.selects(drone.name, drone.description.labels)]
        roles = {command.role: command.port for drone in chosen for command in runs(release, drone.description).roles}
        if roles.get(role):
            return
        name = f"{release.app} {release.name}"
        if role in roles:
            raise UsageError(f"role {shown(role)} of {name} has no port, so it can take no requests")
        there = ", ".join(sorted(each for each, port in roles.items() if port))
        raise UsageError(f"{name} has no role {shown(role)}; it has {there or 'none that takes requests'}")
