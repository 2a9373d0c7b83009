"""What the router counts of the requests it has answered, by route and release."""

from __future__ import annotations

from bisect import bisect_left

from attrs import define, field

from deployd.model.route import LATENCIES, RouteKey, Tally

# Of each route; previews may bring any number of releases in a router's life.
MAX_RELEASES = 200

# The first digits that a status has.
CLASSES = 5


@define(eq=False)
class Count:
    """The requests of one route to one release. ``changed`` is the number of the reading that will first show them."""

    key: RouteKey
    release: str
    _tallies: Tallies = field(repr=False)
    changed: int = 0
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    slow: list[int] = field(factory=lambda: [0] * (len(LATENCIES) + 1))
    classes: list[int] = field(factory=lambda: [0] * CLASSES)

    def add(self, status: int, seconds: float) -> None:
        """One request was answered with ``status``, its head ``seconds`` after it came."""
        self.changed = self._tallies.reading
        self.requests += 1
        if status >= 500:
            self.errors += 1
        self.seconds += seconds
        self.slow[bisect_left(LATENCIES, seconds)] += 1
        self.classes[min(status // 100, CLASSES) - 1] += 1

    def tally(self) -> Tally:
        return Tally(
            self.key, self.release, self.requests, self.errors, self.seconds, tuple(self.slow), tuple(self.classes)
        )


class Tallies:
    """Every Count there is. ``reading`` is the number of the next reading."""

    def __init__(self) -> None:
        self.reading = 1
        self._counts: dict[RouteKey, dict[str, Count]] = {}

    def count(self, key: RouteKey, release: str) -> Count:
        counts = self._counts.setdefault(key, {})
        if release not in counts:
            if len(counts) >= MAX_RELEASES:
                del counts[min(counts, key=lambda each: counts[each].changed)]
            counts[release] = Count(key, release, self)
        return counts[release]

    def forget(self, key: RouteKey) -> None:
        """The route is no more, and with it what was counted."""
        self._counts.pop(key, None)

    def read(self, since: int) -> tuple[int, tuple[Tally, ...]]:
        """The number of this reading, and what has changed after the reading ``since`` (0: all that was counted).

        Give the number of the last reading that arrived: then nothing is lost with one that did not.
        """
        number = self.reading
        self.reading += 1
        changed = (
            count.tally() for counts in self._counts.values() for count in counts.values() if count.changed > since
        )
        return number, tuple(changed)
