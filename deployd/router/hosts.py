"""The routes, ready for requests: found by host and path (Note [Which route]), then asked for a decision."""

from __future__ import annotations

from attrs import define, field

from deployd.model.route import RouteKey, RouteLine
from deployd.planning.routing import (
    Split,
    commit_prefix,
    cookie_name,
    cookie_value,
    prefixes,
    preview_name,
    set_cookie,
    wildcards,
)
from deployd.router.decision import Decision, Refusal
from deployd.router.pools import Pool, Pools
from deployd.router.tallies import Tallies

NO_ROUTE = Refusal(404, "no route leads from this host and path")
NO_WEIGHT = Refusal(503, "the route for this host and path sends requests to no release")
NO_COMMIT = Refusal(404, "no running release is of the commit that was asked for")
NOT_A_COMMIT = Refusal(400, "X-Deployd-Commit has to be 4 to 40 hexadecimal digits, the beginning of a commit's name")
AMBIGUOUS = Refusal(409, "several commits that run begin with what was asked for; give more digits")


class ReadyRoute:
    """One route, with all decisions made that do not depend on the request."""

    def __init__(self, line: RouteLine, pools: Pools, tallies: Tallies) -> None:
        setting = line.setting
        self.line = line
        self.preview = setting.preview
        self.pools = tuple(pools.pool(setting.app, share.release, setting.role) for share in setting.shares)
        for pool in self.pools:
            pool.routes += 1
        self._all, self._tallies = pools, tallies
        self._split = Split.of(setting.shares)
        weighted = [pool for pool, share in zip(self.pools, setting.shares, strict=True) if share.weight > 0]
        self._decisions = tuple(self._to(pool) for pool in weighted)
        # A client needs to be told only where there are others to go to.
        self._cookie = cookie_name(line.key) if setting.sticky and len(weighted) > 1 else b""
        if self._cookie:
            self._kept = {pool.release.encode(): kept for pool, kept in zip(weighted, self._decisions, strict=True)}
            self._decisions = tuple(
                self._to(pool, set_cookie(self._cookie, line.key, pool.release)) for pool in weighted
            )
        self._only: Decision | Refusal | None = None
        if len(weighted) < 2:
            self._only = self._decisions[0] if weighted else NO_WEIGHT

    def decide(self, cookies: bytes, point: float) -> Decision | Refusal:
        if self._only is not None:
            return self._only
        if cookies and self._cookie:
            kept = self._kept.get(cookie_value(cookies, self._cookie))
            if kept is not None:
                return kept
        return self._decisions[self._split.at(point)]

    def by_commit(self, prefix: str) -> Decision | Refusal:
        """The newest release that runs of the one commit that begins with ``prefix``."""
        setting = self.line.setting
        commits = self._all.commits(setting.app, setting.role)
        found = commits.starting_with(prefix)
        if not found:
            return NO_COMMIT
        if len(found) > 1:
            return AMBIGUOUS
        pool = self._all.pool(setting.app, commits.newest(found[0]), setting.role)
        return self._to(pool, commit=found[0], preview=True)

    def discard(self) -> None:
        """It is not followed any more."""
        for pool in self.pools:
            pool.routes -= 1
            self._all.tidy(pool)

    def _to(self, pool: Pool, cookie: bytes = b"", commit: str = "", preview: bool = False) -> Decision:
        count = self._tallies.count(self.line.key, pool.release)
        return Decision(self.line, pool.release, pool, count, cookie, preview, commit)


@define
class Paths:
    """The routes of one host."""

    root: ReadyRoute | None = None
    others: dict[bytes, ReadyRoute] = field(factory=dict)
    longest: int = 0

    def at(self, path: bytes) -> ReadyRoute | None:
        if self.others:
            for prefix in prefixes(path, self.longest):
                found = self.others.get(prefix)
                if found is not None:
                    return found
        return self.root

    def put(self, path: bytes, route: ReadyRoute | None) -> None:
        if path == b"/":
            self.root = route
        elif route is not None:
            self.others[path] = route
        else:
            self.others.pop(path, None)
        self.longest = max(map(len, self.others), default=0)

    def __bool__(self) -> bool:
        return self.root is not None or bool(self.others)


class Hosts:
    """All routes."""

    def __init__(self) -> None:
        self.routes: dict[RouteKey, ReadyRoute] = {}
        self._hosts: dict[bytes, Paths] = {}

    def put(self, route: ReadyRoute) -> None:
        key = route.line.key
        self.routes[key] = route
        self._hosts.setdefault(key.host.encode(), Paths()).put(key.path.encode(), route)

    def remove(self, key: RouteKey) -> None:
        del self.routes[key]
        host = key.host.encode()
        self._hosts[host].put(key.path.encode(), None)
        if not self._hosts[host]:
            del self._hosts[host]

    def decide(self, host: bytes, path: bytes, commit: bytes, cookies: bytes, point: float) -> Decision | Refusal:
        paths = self._hosts.get(host)
        route = None if paths is None else paths.at(path)
        if route is None:
            named = self._named(host, path)
            if named is not None:
                return named
            route = self._wild(host, path)
            if route is None:
                return NO_ROUTE
        if commit and route.preview:
            prefix = commit_prefix(commit)
            return NOT_A_COMMIT if prefix is None else route.by_commit(prefix)
        return route.decide(cookies, point)

    def _named(self, host: bytes, path: bytes) -> Decision | Refusal | None:
        """For a host that begins with a commit; only the hosts of routes that name one are asked for others."""
        name = preview_name(host)
        if name is None or name[1].startswith(b"*"):
            return None
        paths = self._hosts.get(name[1])
        route = None if paths is None else paths.at(path)
        return route.by_commit(name[0]) if route is not None and route.preview else None

    def _wild(self, host: bytes, path: bytes) -> ReadyRoute | None:
        for wildcard in wildcards(host):
            paths = self._hosts.get(wildcard)
            route = None if paths is None else paths.at(path)
            if route is not None:
                return route
        return None
