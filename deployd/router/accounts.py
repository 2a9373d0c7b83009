"""The requests under way at what is on its way out (Note [Requests of what is on its way out])."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deployd.model.router import ReleaseKey
from deployd.router.pools import Pools
from deployd.router.target import Target


class Accounts:
    """Of each instance that is leaving and each release that is retiring; ``lingering`` are targets without rows."""

    def __init__(self) -> None:
        self.lingering: dict[Target, None] = {}
        self._ids: dict[str, int] = {}
        self._releases: dict[ReleaseKey, int] = {}

    def open(
        self, leaving: Iterable[str], retiring: Iterable[ReleaseKey], targets: Mapping[str, Target], pools: Pools
    ) -> None:
        """Account for these from now on, beginning with what is under way."""
        self._ids = {id: targets[id].in_flight if id in targets else 0 for id in leaving}
        self._releases = {
            key: sum(target.in_flight for pool in pools.of_release(key.app, key.release) for target in pool)
            for key in retiring
        }
        for target in self.lingering:
            self._add(target, target.in_flight)

    def linger(self, target: Target) -> None:
        """Its row has gone."""
        if target.in_flight:
            self.lingering[target] = None

    def change(self, target: Target, by: int, there: bool) -> bool:
        """A request began or ended; ``there``: its row is. Whether something has none any more now."""
        if not there:
            self.linger(target)
            if not target.in_flight:
                self.lingering.pop(target, None)
        return self._add(target, by)

    def ids(self) -> dict[str, int]:
        return {id: count for id, count in self._ids.items() if count}

    def releases(self) -> dict[str, int]:
        return {str(key): count for key, count in self._releases.items() if count}

    def _add(self, target: Target, by: int) -> bool:
        quiet = False
        if target.id in self._ids:
            self._ids[target.id] += by
            quiet = not self._ids[target.id]
        key = ReleaseKey(target.app, target.release)
        if key in self._releases:
            self._releases[key] += by
            quiet = quiet or not self._releases[key]
        return quiet
