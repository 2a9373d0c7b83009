"""What a deploy makes of an app's releases: a new one, one more try, a wider one, or nothing."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen

from deployd.errors import Refused
from deployd.model.desired import Changes, Desired, Order
from deployd.model.instance import State
from deployd.model.manifest import Manifest
from deployd.model.names import release_number
from deployd.model.release import Hook, Need, Release, ReleaseState, Selector
from deployd.planning.placement import chosen, needs_procfile, selected, wanted_lines
from deployd.planning.rollout import Verdict, judged, statuses, verdict
from deployd.planning.view import UNSEEN, View

_WAITS = (State.BACKOFF, State.FAILED)


@frozen
class Said:
    """What the commit's Procfile and ``deployd.toml`` say; ``problem``, a sentence, when they are of no use."""

    manifest: Manifest = field(factory=Manifest)
    problem: str = ""


@frozen
class Asked:
    """One deploy: ``commit`` is a full id; ``release`` that of the release where it was named itself (``v12``).

    ``config`` is the revision of the app's config as it is now, ``intent`` the id of a push's.
    """

    app: str
    commit: str
    release: str
    selector: Selector
    need: Need
    timeout: float
    said: Said
    config: int = 0
    patient: bool = False
    intent: str = ""


@frozen
class Decided:
    """``fresh``: the release starts from nothing, with the whole of its time."""

    release: Release
    changes: Changes
    changed: bool = True
    fresh: bool = True


def decide(desired: Desired, asked: Asked, views: Mapping[str, View], now: float) -> Decided:
    """What ``asked`` changes; raise Refused with the reason why it cannot be deployed."""
    before = _release(desired, asked)
    if before is None:
        number = _new_number(desired, asked, views)
        release = Release(asked.app, number, asked.commit, ReleaseState.DEPLOYING, now, config=asked.config)
        return _started(desired, release, asked)
    if not before.state.wanted:
        again = evolve(before, attempt=before.attempt + 1)
        return _started(desired, again, asked)
    return _widened(desired, before, asked, views)


def _release(desired: Desired, asked: Asked) -> Release | None:
    if asked.release:
        return desired.releases[asked.app, int(asked.release[1:])]
    newest = desired.newest(asked.app, asked.commit)
    # With another config it is another release, beside the old one.
    return newest if newest is not None and newest.config == asked.config else None


def _new_number(desired: Desired, asked: Asked, views: Mapping[str, View]) -> int:
    """The next number; or that of the commit's orphans, which the release takes in.

    A hub that lost its state would count from an earlier number again, and ids follow from numbers: the new release
    would take the place of what runs on as an orphan, instead of running beside it.
    """
    numbers = {release.number for release in desired.releases_of(asked.app)}
    orphans: dict[int, set[str]] = {}
    for one in (one for view in views.values() for one in view.instances.values() if one.app == asked.app):
        number = release_number(one.release)
        if number is not None and number not in numbers:
            orphans.setdefault(number, set()).add(one.commit)
    same = [number for number, commits in orphans.items() if commits == {asked.commit}]
    return max(same) if same else max({0, *numbers, *orphans}) + 1


def _started(desired: Desired, release: Release, asked: Asked) -> Decided:
    """From nothing: everything as it is asked for now, whatever an earlier deploy of the release was."""
    manifest = asked.said.manifest
    release = evolve(
        release,
        state=ReleaseState.DEPLOYING,
        selector=asked.selector,
        need=asked.need,
        timeout=asked.timeout,
        patient=asked.patient,
        roles=manifest.roles,
        settings=manifest.settings,
        build=manifest.build,
        hook=Hook(manifest.release) if manifest.release else None,
        settled=None,
        asked=asked.selector,
        reason="",
        outcome=(),
        intent=asked.intent,
    )
    _check(desired, release, asked)
    return Decided(release, Changes(releases=(release,), orders=_resumed(desired, release)))


def _widened(desired: Desired, before: Release, asked: Asked, views: Mapping[str, View]) -> Decided:
    """One that is wanted already: deploys of it add up, and what it has keeps running."""
    deploying = before.state is ReleaseState.DEPLOYING
    wider = evolve(
        before,
        selector=before.selector.plus(asked.selector),
        need=asked.need,
        asked=_judged_by(before, asked.selector) if deploying else asked.selector,
        roles=before.roles if before.roles is not None else asked.said.manifest.roles,
        reason="",
        outcome=(),
        intent=asked.intent,
    )
    if deploying:
        wider = evolve(wider, need=_stricter(desired, wider, before.need, asked.need))
        wider = evolve(wider, timeout=asked.timeout, patient=asked.patient)
    _check(desired, wider, asked)
    orders = _resumed(desired, wider)
    if not deploying and not orders and _same_drones(desired, before, wider) and _healthy(desired, wider, views):
        # Not the need: whatever it takes next time is asked for then.
        same = evolve(before, selector=wider.selector, asked=wider.asked, reason="", outcome=())
        return Decided(same, Changes(releases=() if same == before else (same,)), changed=False, fresh=False)
    if not deploying:
        orders += _shaken(desired, wider, views)
        wider = evolve(wider, state=ReleaseState.DEPLOYING, settled=before.selector)
        wider = evolve(wider, timeout=asked.timeout, patient=asked.patient)
    return Decided(wider, Changes(releases=(wider,), orders=orders), fresh=not deploying)


def _check(desired: Desired, release: Release, asked: Asked) -> None:
    drones = desired.drones.values()
    asked_for = chosen(evolve(release, selector=asked.selector), drones)
    emptied = selected(evolve(release, selector=asked.selector), drones)
    if emptied and not asked_for:
        names = ", ".join(drone.name for drone in emptied[:3]) + (", ..." if len(emptied) > 3 else "")
        are = "is" if len(emptied) == 1 else "are"
        raise Refused(
            f"no drone to deploy to: {names} {are} being emptied; `deployctl undrain {emptied[0].name}` first"
        )
    if not asked_for:
        known = f"none of the {len(desired.drones)} known drones has these labels" if drones else "none has joined"
        raise Refused(f"no drone to deploy to: {known}")
    if asked.said.problem and any(needs_procfile(asked.app, drone.description) for drone in asked_for):
        raise Refused(asked.said.problem)
    count = len(judged(release, drones))
    if release.need.count(count) > count:
        raise Refused(f"{release.need.text} drones have to be ready, but only {count} can be chosen")


def _judged_by(before: Release, selector: Selector) -> Selector | None:
    """Two deploys at once of one release are judged by the drones of both."""
    return None if before.asked is None else before.asked.plus(selector)


def _same_drones(desired: Desired, one: Release, other: Release) -> bool:
    drones = desired.drones.values()
    return chosen(one, drones) == chosen(other, drones)


def _healthy(desired: Desired, release: Release, views: Mapping[str, View]) -> bool:
    return verdict(release.need, statuses(desired, release, views)) is Verdict.MET


def _stricter(desired: Desired, release: Release, one: Need, other: Need) -> Need:
    """Two deploys of one release wait for the same verdict, so it must hold for both."""
    count = len(judged(release, desired.drones.values()))
    return one if one.count(count) > other.count(count) else other


def _resumed(desired: Desired, release: Release) -> tuple[Order, ...]:
    """Orders that let what was stopped of ``release`` run again, as an orphan of that name too."""
    return tuple(
        evolve(order, stopped=False, restarts=order.restarts + 1, orphan=False)
        for order in desired.orders_of(release)
        if order.stopped
    )


def _shaken(desired: Desired, release: Release, views: Mapping[str, View]) -> tuple[Order, ...]:
    """Orders that start anew what waits for its next try, or was given up: somebody asks for it now."""
    found = []
    for drone in chosen(release, desired.drones.values()):
        seen = views.get(drone.name, UNSEEN).instances
        for line in wanted_lines(desired, release, drone.description):
            order = desired.orders.get(line.id, Order(line.id, line.app, line.release))
            if line.id in seen and seen[line.id].state in _WAITS and not order.stopped:
                found.append(evolve(order, restarts=order.restarts + 1))
    return tuple(found)
