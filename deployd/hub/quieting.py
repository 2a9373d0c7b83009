"""Releases that are retiring and are made quiet first: no new requests, those under way end."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.hub.ledger import Ledger
from deployd.hub.traffic import Traffic
from deployd.model.router import ReleaseKey


class Quieting:
    """``changed`` is called when a release has been waited for long enough.

    Note [Quiet before it drains]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Inside a release one role calls another, on whatever drone, through the port table. So while requests to it are
    under way all of it runs as it is, rows and all; what drains then has nothing to do any more.
    """

    def __init__(self, clock: IReactorTime, ledger: Ledger, traffic: Traffic, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._ledger = ledger
        self._traffic = traffic
        self._changed = changed
        self._since: dict[ReleaseKey, float] = {}
        self._quiet: set[ReleaseKey] = set()
        self._timer: IDelayedCall | None = None

    def loud(self) -> frozenset[ReleaseKey]:
        """The retiring releases that still have to run."""
        desired, now = self._ledger.desired, self._clock.seconds()
        retiring = {ReleaseKey(release.app, release.name): release for release in desired.retiring}
        self._since = {key: self._since.get(key, now) for key in retiring}
        self._quiet &= retiring.keys()
        ends = {}
        for key, since in self._since.items():
            end = since + desired.policy(key.app).drain
            if not self._traffic.live() or self._traffic.quiet(key) or now >= end:
                self._quiet.add(key)
            # Once quiet it stays so: what has begun to drain is not called back.
            if key not in self._quiet:
                ends[key] = end
        self._time(min(ends.values(), default=None))
        return frozenset(ends)

    def close(self) -> None:
        self._time(None)

    def _time(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None:
            self._timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._due)

    def _due(self) -> None:
        self._timer = None
        self._changed()
