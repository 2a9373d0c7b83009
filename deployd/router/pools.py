"""The targets of a release in one role, and which of them a request gets."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from sys import maxsize

from attrs import define, field

from deployd.model.names import release_number
from deployd.planning.ejection import PROBE
from deployd.router.target import Target

# How many ready targets are compared with each other, and how many are looked at to find them.
COMPARED = 16
LOOKED_AT = 256


@define(eq=False)
class Pool:
    """``targets`` get new requests; ``out`` are there and get none. ``routes`` is how many shares of routes name it."""

    app: str
    release: str
    role: str
    targets: list[Target] = field(factory=list)
    out: dict[Target, None] = field(factory=dict)
    routes: int = 0
    _turn: int = 0

    @property
    def unused(self) -> bool:
        return not self.targets and not self.out and not self.routes

    def __iter__(self) -> Iterator[Target]:
        yield from self.targets
        yield from self.out

    def pick(self, now: float, tried: Collection[Target] = (), commit: str = "") -> Target | None:
        """The one with the fewest requests in flight; of several that have as few, the next in turn.

        In a large pool not all are compared but COMPARED in turn, which spreads as well and takes no longer. An ejected
        one is taken only when no other was found; one whose time is over is tried alone (Note [Passive ejection]).
        """
        targets = self.targets
        count = len(targets)
        at = self._turn if self._turn < count else 0
        best = spare = None
        least, spare_least = maxsize, maxsize
        left = COMPARED
        for _ in range(count if count < LOOKED_AT else LOOKED_AT):
            target = targets[at]
            at = at + 1 if at + 1 < count else 0
            if (tried and target in tried) or (commit and target.commit != commit):
                continue
            if target.failures and now < target.ejected_until:
                if target.in_flight < spare_least:
                    spare, spare_least = target, target.in_flight
                continue
            if target.in_flight < least:
                best, least, self._turn = target, target.in_flight, at
                if not least:
                    break
            left -= 1
            if not left:
                break
        if best is None:
            self._turn = at
            return spare
        if best.failures:
            best.ejected_until = now + PROBE
        return best

    def enter(self, target: Target) -> None:
        """It gets requests from now on."""
        self.out.pop(target, None)
        target.gone, target.place = False, len(self.targets)
        self.targets.append(target)

    def leave(self, target: Target, there: bool) -> None:
        """It gets no more; ``there``: its row stays."""
        if target.place >= 0:
            last = self.targets.pop()
            if last is not target:
                self.targets[target.place] = last
                last.place = target.place
        target.gone, target.place = True, -1
        if there:
            self.out[target] = None
        else:
            self.out.pop(target, None)


class Commits:
    """The commits that have targets in one role of an app."""

    def __init__(self) -> None:
        self._sorted: list[str] = []
        # How many targets each release of the commit has.
        self._releases: dict[str, dict[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._sorted)

    def add(self, commit: str, release: str) -> None:
        if commit not in self._releases:
            insort(self._sorted, commit)
        counts = self._releases.setdefault(commit, {})
        counts[release] = counts.get(release, 0) + 1

    def remove(self, commit: str, release: str) -> None:
        counts = self._releases[commit]
        counts[release] -= 1
        if not counts[release]:
            del counts[release]
        if not counts:
            del self._releases[commit]
            del self._sorted[bisect_left(self._sorted, commit)]

    def starting_with(self, prefix: str) -> list[str]:
        """At most two of them: enough to know whether there is one, and only one."""
        first = bisect_left(self._sorted, prefix)
        return [commit for commit in self._sorted[first : first + 2] if commit.startswith(prefix)]

    def newest(self, commit: str) -> str:
        """Its newest release."""
        return max(self._releases[commit], key=lambda release: (release_number(release) or 0, release))


class Pools:
    """Every pool that has targets or is named by a route."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, str], dict[str, Pool]] = {}
        self._commits: dict[tuple[str, str], Commits] = {}

    def __iter__(self) -> Iterator[Pool]:
        return (pool for pools in self._pools.values() for pool in pools.values())

    def pool(self, app: str, release: str, role: str) -> Pool:
        pools = self._pools.setdefault((app, release), {})
        if role not in pools:
            pools[role] = Pool(app, release, role)
        return pools[role]

    def of_release(self, app: str, release: str) -> tuple[Pool, ...]:
        return tuple(self._pools.get((app, release), {}).values())

    def commits(self, app: str, role: str) -> Commits:
        return self._commits.get((app, role)) or Commits()

    def enter(self, target: Target) -> None:
        if target.place < 0:
            self.pool(target.app, target.release, target.role).enter(target)
            self._commits.setdefault((target.app, target.role), Commits()).add(target.commit, target.release)

    def leave(self, target: Target, there: bool) -> None:
        pool = self.pool(target.app, target.release, target.role)
        if target.place >= 0:
            key = (target.app, target.role)
            self._commits[key].remove(target.commit, target.release)
            if not self._commits[key]:
                del self._commits[key]
        pool.leave(target, there)
        self.tidy(pool)

    def tidy(self, pool: Pool) -> None:
        """Forget it if it is not used any more."""
        pools = self._pools.get((pool.app, pool.release))
        if pool.unused and pools is not None:
            pools.pop(pool.role, None)
            if not pools:
                del self._pools[pool.app, pool.release]
