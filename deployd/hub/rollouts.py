"""Releases that are being deployed: until enough drones are ready, or they cannot be, or the time is over."""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.hub.fleet import Fleet
from deployd.hub.hooks import Hooks
from deployd.hub.ledger import HUB, NOTHING, Ledger
from deployd.model.desired import Changes, Desired, Key
from deployd.model.release import DroneStatus, Release, ReleaseState
from deployd.planning.hooks import Failed
from deployd.planning.rollout import Verdict, is_busy, judged, judgement, status, statuses, summary

RETRY = 5.0
MAX_REASON = 1000
MAX_TAIL = 8192
MAX_TAILS = 12


class Rollouts:
    """Decides every release that is deploying, and saves how it ended."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, ledger: Ledger, fleet: Fleet) -> None:
        self._clock = clock
        self._ledger = ledger
        self._fleet = fleet
        self._hooks = Hooks(clock, ledger, fleet, lambda: self.review(()))
        self._desired: Desired | None = None
        self._rows: dict[Key, dict[str, DroneStatus]] = {}
        self._deadlines: dict[Key, IDelayedCall] = {}
        self._late: set[Key] = set()
        self._settling: set[Key] = set()
        self._retries: dict[Key, IDelayedCall] = {}

    def begin(self, release: Release, fresh: bool) -> None:
        """A deploy of ``release`` was saved: from nothing it has all of its time, else at least that."""
        key = release.key
        deadline = self._deadlines.get(key)
        if deadline is not None and deadline.active():
            if fresh or deadline.getTime() - self._clock.seconds() < release.timeout:
                deadline.reset(release.timeout)
        else:
            self._late.discard(key)
            self._deadlines[key] = self._clock.callLater(release.timeout, self._expire, key)

    def extend(self, release: Release, fresh: bool) -> None:
        """One more deploy of ``release`` is about to be saved: an earlier one's time must not be over meanwhile."""
        if release.key in self._deadlines:
            self.begin(release, fresh)

    def review(self, names: Collection[str] | None) -> None:
        """Something changed, at the drones named or anywhere: see what is decided by it."""
        desired = self._ledger.desired
        if desired is not self._desired:
            self._desired, names = desired, None
            self._follow(desired)
        self._hooks.look(desired.deploying)
        for release in desired.deploying:
            rows = self._look(desired, release, names)
            is_open = judgement(release, rows.values()) is Verdict.WAITING and release.key not in self._late
            if not is_open or self._hooks.decided(desired, release) is not None:
                self._settle(release.key)

    def close(self) -> None:
        self._hooks.close()
        for call in (*self._deadlines.values(), *self._retries.values()):
            if call.active():
                call.cancel()
        self._deadlines.clear()
        self._retries.clear()

    def _follow(self, desired: Desired) -> None:
        """Time what is deploying (after a restart of the hub: anew), forget what is not any more."""
        keys = {release.key for release in desired.deploying}
        for key in self._deadlines.keys() - keys:
            deadline = self._deadlines.pop(key)
            if deadline.active():
                deadline.cancel()
        self._late &= keys
        for release in desired.deploying:
            if release.key not in self._deadlines:
                self.begin(release, fresh=True)
        self._rows = {}

    def _look(self, desired: Desired, release: Release, names: Collection[str] | None) -> dict[str, DroneStatus]:
        rows = self._rows.get(release.key)
        if rows is None or names is None:
            found = statuses(desired, release, self._fleet.views())
            rows = self._rows[release.key] = {row.drone: row for row in found}
            return rows
        for drone in judged(release, [desired.drones[name] for name in names if name in desired.drones]):
            rows[drone.name] = status(desired, release, drone, self._fleet.view(drone.name))
        return rows

    def left(self, release: Release) -> float:
        """The seconds until a deploy of ``release`` is decided at the latest, as it looks now; 0 where none is open."""
        deadline = self._deadlines.get(release.key)
        if deadline is None or not deadline.active():
            return 0.0
        return max(0.0, deadline.getTime() - self._clock.seconds())

    def _expire(self, key: Key) -> None:
        desired = self._ledger.desired
        release = desired.releases[key]
        if release.patient and is_busy(desired, release, self._fleet.views()):
            self._deadlines[key] = self._clock.callLater(release.timeout, self._expire, key)
            return
        self._late.add(key)
        self._settle(key)

    def _settle(self, key: Key) -> None:
        if key not in self._settling:
            self._settling.add(key)
            deciding = Deferred.fromCoroutine(self._ledger.change(lambda desired: self._decide(desired, key)))
            deciding.addBoth(self._settled, key).addErrback(self._unsettled, key)

    def _settled(self, result: object, key: Key) -> object:
        self._settling.discard(key)
        return result

    def _unsettled(self, failure: Failure, key: Key) -> None:
        if failure.check(DeploydError):
            text = "{app} v{number} is not decided yet: {error}"
            self._log.warn(text, app=key[0], number=key[1], error=failure.value)
        else:
            self._log.failure("while deciding {app} v{number}", failure=failure, app=key[0], number=key[1])
        if key in self._deadlines and key not in self._retries:
            self._retries[key] = self._clock.callLater(RETRY, self._try_again, key)

    def _try_again(self, key: Key) -> None:
        del self._retries[key]
        self.review(None)

    def _decide(self, desired: Desired, key: Key) -> Changes:
        release = desired.releases[key]
        if release.state is not ReleaseState.DEPLOYING:
            return NOTHING
        rows = statuses(desired, release, self._fleet.views())
        found = judgement(release, rows)
        step = self._hooks.decided(desired, release)
        if isinstance(step, Failed):
            return self._without(release, rows, step)
        if step is not None and found is Verdict.WAITING and key not in self._late:
            return self._hooks.changes(release, step)
        if found is Verdict.MET:
            now = self._ledger.now()
            ended = evolve(release, state=ReleaseState.DEPLOYED, settled=None, reason="", outcome=(), good=now)
        elif found is Verdict.IMPOSSIBLE or key in self._late:
            ended = failed(release, rows, late=found is Verdict.WAITING)
        else:
            return NOTHING
        what = "deployed" if found is Verdict.MET else "deploy failed"
        event = self._ledger.event(what, HUB, release.app, release.name)
        return Changes(releases=(ended,), events=(event,))

    def _without(self, release: Release, rows: Collection[DroneStatus], step: Failed) -> Changes:
        """``release`` cannot be deployed as its release command has failed."""
        others = [row for row in rows if step.row is None or row.drone != step.row.drone]
        shown = sorted([*others, step.row] if step.row else others, key=lambda row: row.drone)
        ended = evolve(failed(release, shown, late=False), reason=step.reason[:MAX_REASON])
        events = ("release command failed", "deploy failed")
        return Changes(
            releases=(ended,), events=tuple(self._ledger.event(what, HUB, release.app, release.name) for what in events)
        )


def failed(release: Release, rows: Collection[DroneStatus], late: bool) -> Release:
    """``release`` after a deploy that failed: what an earlier deploy of it reached stays, the rest is taken down."""
    reason = summary(release.need, rows) + (f" after {round(release.timeout, 1):g} s" if late else "")
    if release.settled is not None:
        release = evolve(release, state=ReleaseState.DEPLOYED, selector=release.settled, settled=None)
    else:
        release = evolve(release, state=ReleaseState.FAILED)
    return evolve(release, reason=reason, outcome=_kept(rows))


def _kept(rows: Collection[DroneStatus]) -> tuple[DroneStatus, ...]:
    """``rows`` as they are saved: of a thousand drones that fail alike, the output of some is enough."""
    kept, tails = [], 0
    for row in rows:
        tails += bool(row.tail)
        tail = row.tail[-MAX_TAIL:] if tails <= MAX_TAILS else ""
        kept.append(evolve(row, reason=row.reason[:MAX_REASON], tail=tail))
    return tuple(kept)
