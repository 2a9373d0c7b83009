"""What routers have counted, added up; kept in memory, as the routers' own counts are."""

from __future__ import annotations

from collections.abc import Iterable

from deployd.errors import Malformed
from deployd.model.route import LATENCIES, RouteKey, Tally

MAX_TALLIES = 5000

Counted = tuple[RouteKey, str]
"""A route and a release."""


class Tallies:
    """Each router says what it has counted since it was started; a newer word of it replaces its older one."""

    def __init__(self) -> None:
        self._of: dict[str, dict[Counted, Tally]] = {}

    def take(self, router: str, tallies: Iterable[Tally]) -> None:
        """Raise Malformed."""
        counted = {(tally.key, tally.release): tally for tally in tallies}
        if any(len(tally.slow) not in (0, len(LATENCIES) + 1) for tally in counted.values()):
            raise Malformed(f"a tally has {len(LATENCIES) + 1} counts of latencies")
        known = self._of.get(router, {})
        if len(known.keys() | counted.keys()) > MAX_TALLIES:
            # What is gone from the routes goes on being counted by nobody; the newest word is what is shown.
            known = {}
        if len(counted) > MAX_TALLIES:
            raise Malformed(f"more than {MAX_TALLIES} tallies")
        self._of[router] = known | counted

    def forget(self, router: str) -> None:
        self._of.pop(router, None)

    def total(self, key: RouteKey, release: str) -> Tally:
        """All routers together."""
        found = [tallies[key, release] for tallies in self._of.values() if (key, release) in tallies]
        slow = [sum(counts) for counts in zip(*(tally.slow for tally in found if tally.slow), strict=True)]
        return Tally(
            key,
            release,
            requests=sum(tally.requests for tally in found),
            errors=sum(tally.errors for tally in found),
            seconds=sum(tally.seconds for tally in found),
            slow=tuple(slow),
        )


def quantile(tally: Tally, share: float) -> float | None:
    """The time within which ``share`` of the requests were answered, as the upper bound of its bucket; None: unknown.

    What was slower than every bound has no bound: the last one is shown.
    """
    total = sum(tally.slow)
    if not total:
        return None
    seen = 0
    for bound, count in zip((*LATENCIES, LATENCIES[-1]), tally.slow, strict=True):
        seen += count
        if seen >= share * total:
            return bound
    return LATENCIES[-1]
