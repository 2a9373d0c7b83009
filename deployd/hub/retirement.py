"""``retire``: a release is taken down everywhere, and stays down."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.hub.commits import Commits
from deployd.hub.fleet import Fleet
from deployd.hub.ledger import NOTHING, Ledger
from deployd.model.desired import Changes, Desired
from deployd.model.names import app_name
from deployd.model.release import Release, ReleaseState

_OVER = (ReleaseState.RETIRING, ReleaseState.RETIRED)


class Retirement:
    """A release is retired once no connected drone has anything of it; one that is away is told when it returns."""

    _log = Logger()

    def __init__(self, ledger: Ledger, fleet: Fleet, commits: Commits) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._commits = commits
        self._saving: Deferred[None] | None = None

    async def retire(self, app: str, text: str, who: str) -> Release:
        """Save that a release goes; raise Invalid, UnknownApp, UnknownCommit, Refused."""
        release = await self._commits.release(app_name(app), text)

        def decide(desired: Desired) -> Changes:
            known = desired.releases[release.key]
            if known.state in _OVER:
                return NOTHING
            event = self._ledger.event("retire", who, app, f"{known.name} {known.commit}")
            going = evolve(known, state=ReleaseState.RETIRING, settled=None, reason="", outcome=())
            return evolve(self._ended(desired, going), events=(event,))

        await self._ledger.change(decide)
        return release

    def review(self) -> None:
        """Save which of those that are going have gone, and forget orders to orphans that are."""
        desired = self._ledger.desired
        if self._saving is None and self._gone(desired) != NOTHING:
            self._saving = Deferred.fromCoroutine(self._ledger.change(self._gone))
            self._saving.addErrback(self._unsaved).addBoth(self._saved)

    def _gone(self, desired: Desired) -> Changes:
        releases: tuple[Release, ...] = ()
        dropped: tuple[str, ...] = self._ended_orphans(desired)
        for release in desired.retiring:
            if self._fleet.is_down(release.app, release.name):
                ended = self._ended(desired, release)
                releases, dropped = releases + ended.releases, dropped + ended.dropped
        return Changes(releases=releases, dropped=dropped)

    def _ended(self, desired: Desired, release: Release) -> Changes:
        if not self._fleet.is_down(release.app, release.name):
            return Changes(releases=(release,))
        # What was ordered of its instances dies with them; a later deploy of it starts from nothing.
        dropped = tuple(order.id for order in desired.orders_of(release))
        return Changes(releases=(evolve(release, state=ReleaseState.RETIRED),), dropped=dropped)

    def _ended_orphans(self, desired: Desired) -> tuple[str, ...]:
        orphans = [order.id for order in desired.orders.values() if order.orphan]
        if not orphans:
            return ()
        views = [self._fleet.view(name) for name in desired.drones]
        # One on a drone that is away may still run; its order waits.
        if not all(view.current for view in views):
            return ()
        there = {id for view in views for id in view.instances}
        return tuple(id for id in orphans if id not in there)

    def _unsaved(self, failure: Failure) -> None:
        if failure.check(DeploydError):
            self._log.warn("what is retired is not saved yet: {error}", error=failure.value)
        else:
            self._log.failure("while retiring", failure=failure)

    def _saved(self, _: None) -> None:
        self._saving = None
