"""Release commands: who runs them, how long that drone may be away, and what is saved of how they end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from deployd.hub.alarm import Alarm
from deployd.hub.fleet import Fleet
from deployd.hub.ledger import HUB, Ledger
from deployd.model.desired import Changes, Desired, Key
from deployd.model.release import Hook, Release
from deployd.planning.hooks import HOOK_LEASE, Chosen, Decision, Done, decided
from deployd.planning.view import View


class Hooks:
    """``changed`` is called when a drone has been away for longer than it may."""

    def __init__(self, clock: IReactorTime, ledger: Ledger, fleet: Fleet, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._ledger = ledger
        self._fleet = fleet
        self._away: dict[Key, float] = {}
        self._alarm = Alarm(clock, changed)

    def look(self, releases: Collection[Release]) -> None:
        """Time how long the drones that run the commands of ``releases`` are away; nothing else is timed any more."""
        now = self._clock.seconds()
        away = {
            release.key: self._away.get(release.key, now)
            for release in releases
            if release.hook is not None and release.held_up and self._is_away(release.hook)
        }
        self._away = away
        due = [since + HOOK_LEASE for since in away.values() if since + HOOK_LEASE > now]
        self._alarm.set(min(due, default=None))

    def decided(self, desired: Desired, release: Release) -> Decision | None:
        """What follows for the command of ``release`` as things are; None: nothing, or it has none to wait for."""
        hook = release.hook
        if hook is None or hook.done:
            return None
        since = self._away.get(release.key)
        lost = since is not None and self._clock.seconds() >= since + HOOK_LEASE
        return decided(desired, release, self._views(hook), lost)

    def changes(self, release: Release, step: Chosen | Done) -> Changes:
        """What is saved of ``step``."""
        hook = release.hook
        assert hook is not None
        if isinstance(step, Chosen):
            hook = evolve(hook, drone=step.drone.name, owner=step.drone.owner)
        else:
            hook = evolve(hook, done=True)
        what = "release command done" if hook.done else "release command"
        event = self._ledger.event(what, HUB, release.app, f"{release.name} on {hook.drone}")
        return Changes(releases=(evolve(release, hook=hook),), events=(event,))

    def close(self) -> None:
        self._alarm.set(None)

    def _is_away(self, hook: Hook) -> bool:
        return bool(hook.drone) and not self._fleet.is_connected(hook.drone)

    def _views(self, hook: Hook) -> Mapping[str, View]:
        """Of the one that matters; of all, only before one is chosen."""
        if not hook.drone:
            return self._fleet.views()
        return {} if self._is_away(hook) else {hook.drone: self._fleet.view(hook.drone)}
