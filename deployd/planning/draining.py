"""When what drains may be stopped, and which drones a route needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from attrs import frozen

from deployd.model.desired import Desired, KnownDrone
from deployd.model.instance import State
from deployd.model.route import Route
from deployd.model.router import ReleaseKey
from deployd.planning.placement import Seen, extra_ids, possible_lines

SETTLE = 1.0
"""Seconds after which peers that read the port table before a row went have sent what they wanted to."""
DRAIN_LIMIT = 15.0
"""Seconds after which a registry that does not answer is not waited for."""


@frozen
class Drain:
    """One instance of a drone that drains; times are of a monotonic clock.

    ``freed`` is when its row was heard to be gone (None: not yet), ``passed`` whether routers have none of it any more,
    ``limit`` the seconds that it may take.
    """

    id: str
    release: ReleaseKey
    since: float
    limit: float
    freed: float | None
    passed: bool


def drained(drains: Collection[Drain], now: float, settle: float) -> frozenset[str]:
    """Those of one drone's ``drains`` that may be stopped now.

    Note [Chains end together]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~
    A request to one role of a release is often answered with the help of another beside it, of which no router knows.
    So what a drone has of a release is stopped once all of it that is leaving may be, or when its own time is over.
    """
    held_up = {each.release for each in drains if not _is_over(each, now) and not _is_done(each, now, settle)}
    return frozenset(each.id for each in drains if _is_over(each, now) or each.release not in held_up)


def next_look(drains: Iterable[Drain], now: float, settle: float) -> float | None:
    """When more may be drained though nothing is heard, if it may."""
    times = {each.since + each.limit for each in drains}
    for each in drains:
        times.add(each.since + DRAIN_LIMIT if each.freed is None else each.freed + settle)
    return min((time for time in times if time > now), default=None)


def _is_over(each: Drain, now: float) -> bool:
    return now >= each.since + each.limit


def _is_done(each: Drain, now: float, settle: float) -> bool:
    if each.freed is None:
        return each.passed and now >= each.since + DRAIN_LIMIT
    return each.passed and now >= each.freed + settle


def away_leaving(
    desired: Desired, away: Iterable[KnownDrone], last: Mapping[str, Seen], reports: Collection[Seen]
) -> frozenset[str]:
    """The ids on drones that are ``away`` which are wanted no more, and so will be told to drain.

    ``last`` has what they were seen with, by name, as far as this hub has met them; ``reports`` what the others have.
    """
    stopped = {order.id for order in desired.orders.values() if order.stopped}
    leaving = {id for id in stopped if not any(id in seen for seen in reports)}
    for drone in away:
        seen = last.get(drone.name, {})
        wanted: set[str] = set()
        for release in desired.wanted if seen or drone.draining else ():
            (leaving if drone.draining else wanted).update(
                line.id for line in possible_lines(desired, release, drone.description)
            )
        for one in seen.values():
            if not one.state.over and one.state is not State.ORPHAN and one.id not in wanted:
                leaving.add(one.id)
    return frozenset(leaving)


@frozen
class Loss:
    """What a route would lose with a drone: the last ready instance of ``role`` of ``release``."""

    route: Route
    release: ReleaseKey
    role: str


def loss(desired: Desired, name: str, seen: Mapping[str, Seen]) -> Loss | None:
    """What emptying the drone ``name`` would cost; ``seen`` has what it and the connected drones report, by name."""
    there = _ready(seen.get(name, {}), _beside(desired, name))
    if not there:
        return None
    elsewhere: set[tuple[ReleaseKey, str]] = set()
    for other, instances in seen.items():
        if other != name and other in desired.drones and not desired.drones[other].draining:
            elsewhere |= _ready(instances)
    last = sorted(there - elsewhere)
    for route in sorted(desired.routes.values(), key=lambda route: route.key) if last else ():
        for release, role in last:
            if release.app == route.setting.app and release.release in route.setting.weighted:
                return Loss(route, release, role)
    return None


def _beside(desired: Desired, name: str) -> frozenset[str]:
    """The ids there of what somebody added, and what takes no requests: a release is whole without it."""
    its = (
        (extra, desired.releases[extra.app, extra.number])
        for extra in desired.extras.values()
        if not extra.port and (extra.app, extra.number) in desired.releases
    )
    return frozenset(extra_ids(desired, release, extra).get(name, "") for extra, release in its)


def _ready(seen: Seen, beside: Collection[str] = ()) -> set[tuple[ReleaseKey, str]]:
    ready = (one for one in seen.values() if one.state is State.READY and one.id not in beside)
    return {(ReleaseKey(one.app, one.release), one.role) for one in ready}
