"""Releases that are retiring and are made quiet first: no new requests, those under way end."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from deployd.hub.alarm import Alarm
from deployd.hub.ledger import Ledger
from deployd.hub.traffic import Traffic
from deployd.model.router import ReleaseKey

RETURN = 10.0


class Quieting:
    """``complete`` says whether all drones have reported; ``changed`` is called when waiting is over.

    Note [Quiet before it drains]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Inside a release one role calls another, on whatever drone, through the port table. So while requests to it are
    under way all of it runs as it is, rows and all; what drains then has nothing to do any more. A hub that was
    started gives drones the same time to return as routers: what they have is not down because nobody has told yet.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ledger: Ledger,
        traffic: Traffic,
        complete: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._traffic = traffic
        self._complete = complete
        self._returned = clock.seconds() + RETURN
        self._since: dict[ReleaseKey, float] = {}
        self._quiet: set[ReleaseKey] = set()
        self._alarm = Alarm(clock, changed)

    def loud(self) -> frozenset[ReleaseKey]:
        """The retiring releases that still have to run."""
        desired, now = self._ledger.desired, self._clock.seconds()
        retiring = {ReleaseKey(release.app, release.name): release for release in desired.retiring}
        self._since = {key: self._since.get(key, now) for key in retiring}
        self._quiet &= retiring.keys()
        waits = bool(retiring) and self.waits()
        ends = {}
        for key, since in self._since.items():
            end = since + desired.policy(key.app).drain
            if not self._traffic.live() or now >= end or (self._traffic.quiet(key) and not waits):
                self._quiet.add(key)
            # Once quiet it stays so: what has begun to drain is not called back.
            if key not in self._quiet:
                ends[key] = end
        self._alarm.set(min((*ends.values(), self._returned) if waits else ends.values(), default=None))
        return frozenset(ends)

    def waits(self) -> bool:
        """Whether drones may still return from a restart of the hub."""
        return self.begins and not self._complete()

    @property
    def begins(self) -> bool:
        """Whether the hub was started so lately that drones are on their way back."""
        return self._clock.seconds() < self._returned

    def close(self) -> None:
        self._alarm.set(None)
