"""``promote``: releases led to all requests of a route, step by step, whatever happens to the hub meanwhile."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError, Refused, UsageError
from deployd.hub.commits import Commits
from deployd.hub.fitness import Fitness
from deployd.hub.ledger import HUB, NOTHING, Ledger
from deployd.hub.routes import known_route, route_key, told
from deployd.model.desired import Changes, Desired
from deployd.model.names import release_number, shown
from deployd.model.route import Promotion, Route, RouteKey
from deployd.planning.history import Act, aborted, with_promotion
from deployd.planning.promotion import advanced, begun, check_steps

RETRY = 5.0
RETURNING = 15.0
"""How long after its start a hub goes on with no promotion: until its drones are back, everything looks down."""


@frozen
class PromoteRequest:
    host: str
    path: str
    commit: str
    steps: Any
    every: float
    force: bool = False


@frozen
class _Timer:
    """The next step of a promotion that stands at entry ``number``."""

    number: int
    call: IDelayedCall


class Promotions:
    """What is promoted is in the routes; here is only the time until each next step."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, ledger: Ledger, commits: Commits, fitness: Fitness) -> None:
        self._clock = clock
        self._ledger = ledger
        self._commits = commits
        self._fitness = fitness
        self._routes: dict[RouteKey, Route] | None = None
        self._timers: dict[RouteKey, _Timer] = {}
        self._found: dict[RouteKey, int] = {}
        self._begins = 0.0

    def open(self) -> None:
        """The ledger has been read."""
        routes = self._ledger.desired.routes
        self._found = {key: route.number for key, route in routes.items() if route.promotion is not None}
        self._begins = self._clock.seconds() + RETURNING

    async def promote(self, request: PromoteRequest, who: str) -> int:
        """Make the first step; its number. Raise Invalid, UsageError, UnknownRoute, UnknownCommit, Refused."""
        key = route_key(request.host, request.path)
        if not isinstance(request.steps, list):
            raise UsageError("the steps are a list of percents")
        steps = check_steps(request.steps, request.every)
        app = known_route(self._ledger.desired, key).setting.app
        release = await self._commits.release(app, request.commit)

        def decide(desired: Desired) -> Changes:
            route = known_route(desired, key)
            if route.setting.app != app:
                raise Refused(f"{key} has just been given to {route.setting.app}; look at it and try again")
            if route.promotion is not None:
                raise Refused(
                    f"{route.promotion.release} is being promoted on {key} already; `deployctl abort {key.host}` first"
                )
            self._fitness.check(desired, desired.releases[release.key], route.setting.role, request.force)
            step = begun(route.setting, release.name, steps, request.every)
            return self._stepped(with_promotion(route, step.setting, step.promotion, self._act(who)), who)

        await self._ledger.change(decide)
        return known_route(self._ledger.desired, key).number

    async def steer(self, host: str, path: str, deed: str, who: str) -> int:
        """``pause``, ``resume`` or ``abort``; the number in force then.

        Raise Invalid, UsageError, UnknownRoute, Refused.
        """
        key = route_key(host, path)
        if deed not in ("pause", "resume", "abort"):
            raise UsageError(f"a promotion can be paused, resumed or aborted, and not {shown(deed)}")

        def decide(desired: Desired) -> Changes:
            route = known_route(desired, key)
            promotion = route.promotion
            if promotion is None:
                raise Refused(f"nothing is being promoted on {key}")
            if deed == "abort":
                return self._aborted(desired, route, promotion, who)
            if promotion.paused == (deed == "pause"):
                return NOTHING
            return self._paused(route, promotion, deed == "pause", who)

        await self._ledger.change(decide)
        return known_route(self._ledger.desired, key).number

    def review(self) -> None:
        """Time what is being promoted (after a restart of the hub: anew), and nothing else."""
        routes = self._ledger.desired.routes
        if routes is self._routes:
            return
        self._routes = routes
        going = {
            key: (route.number, route.promotion.every)
            for key, route in routes.items()
            if route.promotion is not None and not route.promotion.paused
        }
        for key, timer in list(self._timers.items()):
            if key not in going or going[key][0] != timer.number:
                self._forget(key)
        for key, (number, every) in going.items():
            if key not in self._timers:
                self._time(key, number, every)

    def close(self) -> None:
        for key in list(self._timers):
            self._forget(key)

    def _time(self, key: RouteKey, number: int, seconds: float) -> None:
        if self._found.get(key) == number:
            seconds = max(seconds, self._begins - self._clock.seconds())
        self._timers[key] = _Timer(number, self._clock.callLater(seconds, self._due, key, number))

    def _forget(self, key: RouteKey) -> None:
        call = self._timers.pop(key).call
        if call.active():
            call.cancel()

    def _due(self, key: RouteKey, number: int) -> None:
        saving = Deferred.fromCoroutine(self._ledger.change(lambda desired: self._next(desired, key, number)))
        saving.addErrback(self._unsaved, key, number)

    def _unsaved(self, failure: Failure, key: RouteKey, number: int) -> None:
        if failure.check(DeploydError):
            self._log.warn("the next step of {route} is not made yet: {error}", route=str(key), error=failure.value)
        else:
            self._log.failure("while promoting on {route}", failure=failure, route=str(key))
        timer = self._timers.get(key)
        if timer is not None and timer.number == number:
            self._time(key, number, RETRY)

    def _next(self, desired: Desired, key: RouteKey, number: int) -> Changes:
        """The step that is due, or a pause where the release is not good enough for it."""
        route = desired.routes.get(key)
        promotion = None if route is None else route.promotion
        if route is None or promotion is None or promotion.paused or route.number != number:
            return NOTHING
        release = desired.releases.get((promotion.base.app, release_number(promotion.release) or 0))
        problem = (
            "it is not there any more"
            if release is None
            else self._fitness.problem(desired, release, promotion.base.role)
        )
        if problem:
            return self._paused(route, promotion, True, HUB, f": {promotion.release} gets no more: {problem}")
        step = advanced(promotion)
        return self._stepped(with_promotion(route, step.setting, step.promotion, self._act(HUB)), HUB)

    def _stepped(self, route: Route, who: str) -> Changes:
        return Changes(routes=(route,), events=(self._ledger.event("promote", who, route.setting.app, told(route)),))

    def _paused(self, route: Route, promotion: Promotion, pause: bool, who: str, why: str = "") -> Changes:
        what = "promotion paused" if pause else "promotion resumed"
        changed = evolve(route, promotion=evolve(promotion, paused=pause))
        event = self._ledger.event(what, who, route.setting.app, f"{route.key}{why}")
        return Changes(routes=(changed,), events=(event,))

    def _aborted(self, desired: Desired, route: Route, promotion: Promotion, who: str) -> Changes:
        base = promotion.base
        self._fitness.check_targets(desired, base.app, base.weighted, base.role)
        changed = aborted(route, promotion, self._act(who))
        return Changes(
            routes=(changed,), events=(self._ledger.event("promotion aborted", who, base.app, told(changed)),)
        )

    def _act(self, who: str) -> Act:
        return Act(who, self._ledger.now())
