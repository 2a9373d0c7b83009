"""Which releases stay and which go: why one must not be retired, and what nobody uses any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from attrs import frozen

from deployd.model.desired import Desired, Key
from deployd.model.policy import Policy
from deployd.model.release import Release, ReleaseState
from deployd.model.route import Route
from deployd.planning.history import AppRelease, rollback_target, routed

DAY = 24 * 3600.0


@frozen
class Fate:
    """Whether a release ``goes``, and why or why not, as a sentence."""

    release: Release
    goes: bool
    reason: str


@frozen
class Uses:
    """For each release a route that sends requests to it, and one that a rollback would lead back to it."""

    routes: dict[AppRelease, Route]
    returns: dict[AppRelease, Route]

    @classmethod
    def of(cls, routes: Iterable[Route]) -> Uses:
        used: dict[AppRelease, Route] = {}
        returns: dict[AppRelease, Route] = {}
        for route in sorted(routes, key=lambda route: route.key):
            for key in routed((route,)):
                used.setdefault(key, route)
            target = rollback_target(route)
            if target is not None:
                for name in target.setting.weighted:
                    returns.setdefault((target.setting.app, name), route)
        return cls(used, returns)


def objection(desired: Desired, release: Release) -> str:
    """Why ``release`` must not be retired by anybody, and what to do; "" when it may be."""
    key = (release.app, release.name)
    for route in sorted(desired.routes.values(), key=lambda route: route.key):
        if key in routed((route,)):
            if route.promotion is not None:
                host = route.key.host
                return f"a promotion on {route.key} involves {release.name}; end it first: `deployctl abort {host}`"
            return f"{route.key} sends requests to {release.name}; lead it elsewhere first: `deployctl route set`"
    if release.pinned:
        return f"{release.name} is pinned; `deployctl unpin {release.app} {release.name}` first"
    return ""


def fates(desired: Desired, app: str, running: Collection[Key], now: float) -> tuple[Fate, ...]:
    """What ``retire --unused`` does to the releases of ``app`` ("": of all) that drones have, in order.

    ``running`` are the keys of those that are seen anywhere; ``now`` is in seconds since 1970, as policies are about
    days.
    """
    kept: dict[str, list[Release]] = {}
    for _, release in sorted(desired.releases.items()):
        if app in ("", release.app) and (release.state.wanted or _lingers(release, running)):
            kept.setdefault(release.app, []).append(release)
    concerned = (route for route in desired.routes.values() if any(e.setting.app in kept for e in route.entries))
    uses = Uses.of(concerned)
    found: list[Fate] = []
    for name, releases in kept.items():
        found += _of_app(releases, uses, desired.policy(name), now)
    return tuple(found)


def good_since(release: Release) -> float | None:
    """When ``release`` became good, if it is: a deploy of it succeeded and none from nothing has followed.

    Those that were deployed before that was saved have only the time of their creation.
    """
    deployed = release.state is ReleaseState.DEPLOYED
    if not deployed and (release.state is not ReleaseState.DEPLOYING or release.settled is None):
        return None
    return release.created if release.good is None else release.good


def _lingers(release: Release, running: Collection[Key]) -> bool:
    return release.state is ReleaseState.FAILED and release.key in running


def _of_app(releases: Sequence[Release], uses: Uses, policy: Policy, now: float) -> list[Fate]:
    """``releases`` are those of one app, oldest first: what one app keeps takes no place from another."""
    good = [release for release in releases if good_since(release) is not None]
    newest = tuple(good[-policy.keep :]) if policy.keep else ()
    found = []
    for release in releases:
        reason = _used(release, uses) or _young(release, releases, good, newest, policy, now)
        found.append(Fate(release, not reason, reason or _unused(release, newest or tuple(good[-1:]))))
    return found


def _used(release: Release, uses: Uses) -> str:
    key = (release.app, release.name)
    if release.state is ReleaseState.DEPLOYING:
        return "it is being deployed"
    if key in uses.routes:
        route = uses.routes[key]
        if key in ((route.setting.app, name) for name in route.setting.weighted):
            return f"{route.key} sends requests to it"
        return f"a promotion on {route.key} involves it"
    if key in uses.returns:
        return f"a rollback of {uses.returns[key].key} would put it back"
    return "it is pinned" if release.pinned else ""


def _young(
    release: Release,
    releases: Sequence[Release],
    good: Sequence[Release],
    newest: Collection[Release],
    policy: Policy,
    now: float,
) -> str:
    """Why the release stays though nobody uses it, if it does."""
    if not good:
        return "it is the newest release, and none is good" if release is releases[-1] else ""
    if release is good[-1]:
        return "it is the app's newest good release"
    if release is max(good, key=lambda each: (good_since(each) or 0.0, each.number)):
        return "it was deployed last"
    if release in newest:
        return f"it is among the newest {policy.keep} good releases (keep={policy.keep})"
    since = good_since(release)
    if since is not None and now - since < policy.keep_for:
        return f"it was good {_ago(now - since)} ago (keep-for={policy.values()['keep-for']})"
    return ""


def _unused(release: Release, newest: Sequence[Release]) -> str:
    if release.state is ReleaseState.FAILED:
        return "its deploy failed and no route uses it"
    kept = (
        f"; {newest[0].name} {'and newer good ones are' if len(newest) > 1 else 'is newer and'} kept" if newest else ""
    )
    return f"no route uses it{kept}"


def _ago(seconds: float) -> str:
    for unit, length in (("d", DAY), ("h", 3600.0), ("m", 60.0)):
        if seconds >= length:
            return f"{int(seconds / length)} {unit}"
    return f"{max(0, int(seconds))} s"
