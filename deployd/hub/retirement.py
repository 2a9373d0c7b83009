"""``retire``: releases are taken down everywhere, and stay down."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError, Refused
from deployd.hub.commits import Commits
from deployd.hub.fleet import Fleet
from deployd.hub.ledger import HUB, NOTHING, Ledger
from deployd.hub.listing import Row, first_page
from deployd.model.desired import Changes, Desired
from deployd.model.names import app_name, release_number
from deployd.model.release import Release, ReleaseState
from deployd.model.router import ReleaseKey
from deployd.planning.retention import Fate, fates, objection

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
        """Save that a release goes. Raise Invalid, UnknownApp, UnknownCommit, Refused: it is routed or pinned."""
        release = await self._commits.release(app_name(app), text)

        def decide(desired: Desired) -> Changes:
            known = desired.releases[release.key]
            if known.state in _OVER:
                return NOTHING
            why_not = objection(desired, known)
            if why_not:
                raise Refused(why_not)
            return self._going(desired, (known,), who)

        await self._ledger.change(decide)
        return release

    async def retire_unused(self, app: str, after: str, dry_run: bool, who: str) -> tuple[list[Row], str]:
        """One page of what stays and what goes of ``app`` ("": of all), and the ``after`` of the next.

        What goes is saved to go, unless ``dry_run``. Raise Invalid, UnknownApp, Refused.
        """
        if app:
            await self._commits.check_app(app)
        found: tuple[list[Row], str] = ([], "")

        def decide(desired: Desired) -> Changes:
            nonlocal found
            running = {(one.app, release_number(one.release) or 0) for one in self._fleet.instances()}
            each = {_key(fate.release): fate for fate in fates(desired, app, running, self._ledger.now())}
            found = first_page(((key, _row(fate)) for key, fate in each.items()), after)
            shown = {(row["app"], row["release"]) for row in found[0] if row["goes"]}
            going = tuple(f.release for f in each.values() if (f.release.app, f.release.name) in shown)
            return NOTHING if dry_run or not going else self._going(desired, going, who)

        await self._ledger.change(decide)
        return found

    @property
    def retiring(self) -> frozenset[ReleaseKey]:
        """The releases that get no new requests."""
        return frozenset(ReleaseKey(release.app, release.name) for release in self._ledger.desired.retiring)

    def review(self) -> None:
        """Save which of those that are going have gone, and forget orders to orphans that are."""
        desired = self._ledger.desired
        if self._saving is None and self._gone(desired) != NOTHING:
            self._saving = Deferred.fromCoroutine(self._ledger.change(self._gone))
            self._saving.addErrback(self._unsaved).addBoth(self._saved)

    def _going(self, desired: Desired, releases: tuple[Release, ...], who: str) -> Changes:
        changes = Changes()
        for release in releases:
            going = evolve(release, state=ReleaseState.RETIRING, settled=None, reason="", outcome=())
            ended = self._ended(desired, going)
            event = self._ledger.event("retire", who, release.app, f"{release.name} {release.commit}")
            changes = evolve(
                changes,
                releases=changes.releases + ended.releases,
                dropped=changes.dropped + ended.dropped,
                ended=changes.ended + ended.ended,
                events=(*changes.events, event, *ended.events),
            )
        return changes

    def _gone(self, desired: Desired) -> Changes:
        changes = Changes(dropped=self._ended_orphans(desired))
        for release in desired.retiring:
            if self._fleet.is_down(release.app, release.name):
                ended = self._ended(desired, release)
                changes = evolve(
                    changes,
                    releases=changes.releases + ended.releases,
                    dropped=changes.dropped + ended.dropped,
                    ended=changes.ended + ended.ended,
                    events=changes.events + ended.events,
                )
        return changes

    def _ended(self, desired: Desired, release: Release) -> Changes:
        if not self._fleet.is_down(release.app, release.name):
            return Changes(releases=(release,))
        # What was ordered of its instances dies with them; a later deploy of it starts from nothing.
        dropped = tuple(order.id for order in desired.orders_of(release))
        extras = tuple(extra.name for extra in desired.extras_by_release.get(release.key, ()))
        event = self._ledger.event("retired", HUB, release.app, release.name)
        retired = evolve(release, state=ReleaseState.RETIRED)
        return Changes(releases=(retired,), dropped=dropped, ended=extras, events=(event,))

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


def _row(fate: Fate) -> Row:
    release = fate.release
    return {
        "app": release.app,
        "release": release.name,
        "commit": release.commit,
        "goes": fate.goes,
        "reason": fate.reason,
    }


def _key(release: Release) -> str:
    return f"{release.app}\0{release.number:09}"
