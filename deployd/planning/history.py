"""What becomes of a route: settings put in force, put back, and which of them a rollback means.

Note [Back along the trail]
~~~~~~~~~~~~~~~~~~~~~~~~~~~
A history only grows; a rollback is one more entry of it. The way back is the *trail*: the entries replayed, where one
that puts back another stands in that one's place and cuts off what came after. So a second rollback goes on from where
the first one arrived, and never to what that had left. When the oldest entries are gone from a history, the trail is
shorter by its beginning and otherwise the same: what is put back after that stands where the lost entry stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from deployd.model.names import release_number
from deployd.model.route import MAX_HISTORY, Entry, Promotion, Route, RouteKey, Setting

AppRelease = tuple[str, str]
"""An app and the name of one of its releases."""


@frozen
class Act:
    """Who does something to a route, and when (seconds since 1970)."""

    who: str
    when: float


@frozen
class Place:
    """One step of the trail: ``entry`` stands at ``number``, its own or that of the one that it put back."""

    number: int
    entry: Entry


def with_setting(route: Route | None, key: RouteKey, setting: Setting, act: Act) -> Route:
    """``route`` (None: there is none yet) with ``setting`` in force; any promotion of it is over.

    What is in force already gets no new entry.
    """
    if route is None:
        return Route(key, (Entry(1, setting, act.when, act.who),))
    ended = evolve(route, promotion=None)
    return ended if route.setting == setting else _plus(ended, setting, act, "set")


def with_rollback(route: Route, target: Entry, act: Act) -> Route:
    """``route`` with what ``target``, an entry of it, says; any promotion is over."""
    return _plus(evolve(route, promotion=None), target.setting, act, "rollback", _origin(target))


def with_promotion(route: Route, setting: Setting, promotion: Promotion | None, act: Act) -> Route:
    """``route`` after one step of a promotion; None: the last one."""
    return evolve(_plus(route, setting, act, "promote"), promotion=promotion)


def aborted(route: Route, promotion: Promotion, act: Act) -> Route:
    """``route`` with the base of ``promotion`` in force again; what that had led to is no way back."""
    on_trail = (place.entry for place in reversed(trail(route.entries)))
    started = next((entry for entry in on_trail if entry.setting == promotion.base), None)
    number = 0 if started is None else _origin(started)
    return _plus(evolve(route, promotion=None), promotion.base, act, "abort", number)


def trail(entries: Iterable[Entry]) -> tuple[Place, ...]:
    """The way on which the last entry was come to, oldest first (Note [Back along the trail])."""
    places: list[Place] = []
    for entry in entries:
        if not entry.back_to:
            places.append(Place(entry.number, entry))
            continue
        there = next((n for n, place in enumerate(places) if entry.back_to in (place.number, place.entry.number)), None)
        if there is not None:
            del places[there + 1 :]
            continue
        while places and places[-1].number > entry.back_to:
            places.pop()
        places.append(Place(entry.back_to, entry))
    return tuple(places)


def introduced_last(places: Sequence[Place]) -> AppRelease | None:
    """Of the releases that the end of the trail gives weight, the one that came in last; of several the newest."""
    if not places:
        return None
    weighted = since_then = _weighted(places[-1].entry.setting)
    came = dict.fromkeys(weighted, 0)
    # Backwards, as there may be ten thousand routes with long histories, and what came last came lately.
    for number in range(len(places) - 2, -1, -1):
        before = _weighted(places[number].entry.setting)
        came.update(dict.fromkeys(since_then - before, number + 1))
        since_then = since_then & before
        if not since_then:
            break
    return max(weighted, key=lambda key: (came[key], release_number(key[1]) or 0, key), default=None)


def rollback_target(route: Route) -> Entry | None:
    """The entry that a rollback puts back: the newest earlier one without the release introduced last."""
    places = trail(route.entries)
    introduced = introduced_last(places)
    earlier = (place.entry for place in reversed(places[:-1]))
    return next((entry for entry in earlier if introduced not in _weighted(entry.setting)), None)


def find(route: Route, number: int) -> Entry | None:
    """The entry of that number, if the history still has it."""
    return next((entry for entry in route.entries if entry.number == number), None)


def routed(routes: Iterable[Route]) -> set[AppRelease]:
    """Every release that gets requests by a route, or soon may: what a promotion leads to, and would go back to."""
    found: set[AppRelease] = set()
    for route in routes:
        found |= _weighted(route.setting)
        promotion = route.promotion
        if promotion is not None:
            found |= {(promotion.base.app, promotion.release)} | _weighted(promotion.base)
    return found


def _origin(entry: Entry) -> int:
    """The number of the entry that first had this setting: one that was itself put back stands in another's place."""
    return entry.back_to or entry.number


def _plus(route: Route, setting: Setting, act: Act, what: str, back_to: int = 0) -> Route:
    entry = Entry(route.number + 1, setting, act.when, act.who, what, back_to)
    return evolve(route, entries=(*route.entries, entry)[-MAX_HISTORY:])


def _weighted(setting: Setting) -> set[AppRelease]:
    return {(setting.app, release) for release in setting.weighted}
