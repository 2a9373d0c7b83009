"""``route set``, ``route rm`` and ``rollback``: settings of routes, saved."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from deployd.errors import Refused, UnknownRoute, UsageError
from deployd.hub.commits import Commits
from deployd.hub.fitness import Fitness
from deployd.hub.ledger import NOTHING, Ledger
from deployd.model.desired import Changes, Desired
from deployd.model.names import app_name, role_name, shown
from deployd.model.release import Release
from deployd.model.route import MAX_WEIGHT, Entry, Route, RouteKey, Setting, Share, route_host, route_path
from deployd.planning.history import Act, find, introduced_last, rollback_target, trail, with_rollback, with_setting

MAX_ROUTES = 20_000
MAX_SHARES = 20


@frozen
class RouteRequest:
    """A setting as it was asked for; nothing of it is checked yet. ``shares`` is JSON: ``[[COMMIT, WEIGHT], ...]``."""

    host: str
    path: str
    app: str
    role: str
    shares: Any
    preview: bool = False
    sticky: bool = False
    https: bool = False
    force: bool = False


class Routes:
    def __init__(self, ledger: Ledger, commits: Commits, fitness: Fitness) -> None:
        self._ledger = ledger
        self._commits = commits
        self._fitness = fitness

    async def set(self, request: RouteRequest, who: str) -> int:
        """Put a setting in force; its number. Raise Invalid, UsageError, UnknownApp, UnknownCommit, Refused."""
        key = route_key(request.host, request.path)
        app, role = app_name(request.app), role_name(request.role)
        asked = checked_shares(request.shares)
        await self._commits.check_app(app)
        releases = [await self._commits.release(app, text) for text, _ in asked]
        shares = tuple(Share(release.name, weight) for release, (_, weight) in zip(releases, asked, strict=True))
        if len({share.release for share in shares}) < len(shares):
            raise UsageError(f"two of the commits are the same release: {', '.join(share.release for share in shares)}")
        setting = Setting(app, role, shares, request.preview, request.sticky, request.https)

        def decide(desired: Desired) -> Changes:
            known = desired.routes.get(key)
            if known is not None and known.setting == setting and known.promotion is None:
                return NOTHING
            if known is None and len(desired.routes) >= MAX_ROUTES:
                raise Refused(f"there are {MAX_ROUTES} routes; take one away first")
            self._check(desired, releases, role, request.force)
            route = with_setting(known, key, setting, Act(who, self._ledger.now()))
            event = self._ledger.event("route set", who, app, told(route))
            return Changes(routes=(route,), events=(event,))

        await self._ledger.change(decide)
        return self._number(key)

    async def remove(self, host: str, path: str, who: str) -> None:
        """Take a route away, with its history. Raise Invalid, UnknownRoute, Refused."""
        key = route_key(host, path)

        def decide(desired: Desired) -> Changes:
            route = known_route(desired, key)
            event = self._ledger.event("route removed", who, route.setting.app, told(route))
            return Changes(unrouted=(key,), events=(event,))

        await self._ledger.change(decide)

    async def roll_back(self, host: str, path: str, to: int, who: str) -> tuple[int, Entry]:
        """Put entry ``to`` back (0: the newest without the release introduced last); the new number, and that entry.

        Raise Invalid, UsageError, UnknownRoute, Refused.
        """
        key = route_key(host, path)
        targets: list[Entry] = []

        def decide(desired: Desired) -> Changes:
            route = known_route(desired, key)
            target = wanted_entry(route, to)
            targets.append(target)
            if target.setting == route.setting and route.promotion is None:
                return NOTHING
            setting = target.setting
            self._fitness.check_targets(desired, setting.app, setting.weighted, setting.role)
            changed = with_rollback(route, target, Act(who, self._ledger.now()))
            event = self._ledger.event("rollback", who, setting.app, told(changed))
            return Changes(routes=(changed,), events=(event,))

        await self._ledger.change(decide)
        return self._number(key), targets[0]

    def _check(self, desired: Desired, releases: list[Release], role: str, force: bool) -> None:
        """As they are now: looking them up took a while."""
        for release in releases:
            self._fitness.check(desired, desired.releases[release.key], role, force)

    def _number(self, key: RouteKey) -> int:
        # It may be gone again already.
        route = self._ledger.desired.routes.get(key)
        return 0 if route is None else route.number


def route_key(host: str, path: str) -> RouteKey:
    """Raise Invalid."""
    return RouteKey(route_host(host), route_path(path or "/"))


def known_route(desired: Desired, key: RouteKey) -> Route:
    """Raise UnknownRoute."""
    route = desired.routes.get(key)
    if route is None:
        raise UnknownRoute(f"there is no route {shown(str(key))}; `deployctl route show` lists them")
    return route


def wanted_entry(route: Route, number: int) -> Entry:
    """The entry that a rollback to ``number`` (0: one back) puts back; raise UsageError, Refused."""
    target = find(route, number) if number else rollback_target(route)
    if target is not None:
        return target
    if number:
        raise UsageError(f"{route.key} has no setting {number}; `deployctl route show --history {route.key}` has them")
    came = introduced_last(trail(route.entries))
    raise Refused(f"there is no earlier setting of {route.key} without {came[1] if came else 'what it has'}")


def checked_shares(shares: Any) -> list[tuple[str, int]]:
    """``[[COMMIT, WEIGHT], ...]``; raise UsageError."""
    if not isinstance(shares, list) or not all(
        isinstance(share, list) and len(share) == 2 and isinstance(share[0], str) and type(share[1]) is int
        for share in shares
    ):
        raise UsageError("shares are a list of commits with whole weights")
    if len(shares) > MAX_SHARES:
        raise UsageError(f"a route has at most {MAX_SHARES} releases")
    if any(not 0 <= weight <= MAX_WEIGHT for _, weight in shares):
        raise UsageError(f"a weight is a whole number from 0 to {MAX_WEIGHT}")
    if not any(weight for _, weight in shares):
        raise UsageError("at least one release needs a weight above 0; `deployctl route rm` takes a route away")
    return [(text, weight) for text, weight in shares]


def told(route: Route) -> str:
    """A route as an event tells of it: ``shop.example: webapp:http v1=90 v2=10``."""
    setting = route.setting
    shares = " ".join(f"{share.release}={share.weight}" for share in setting.shares)
    words = [word for word in ("preview", "sticky", "https") if getattr(setting, word)]
    return " ".join([f"{route.key}: {setting.app}:{setting.role} {shares}", *words])
