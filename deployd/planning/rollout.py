"""How far a release has come: per chosen drone, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum

from attrs import evolve

from deployd.model.desired import Desired, KnownDrone
from deployd.model.instance import AssignedInstance, ObservedInstance, State
from deployd.model.release import DroneStatus, Need, Release
from deployd.planning.hooks import runner, waiting_row
from deployd.planning.placement import chosen, is_stopped, runs, wanted_lines
from deployd.planning.view import UNSEEN, View, is_hopeless

# What ends is of an earlier attempt, and so are its failures.
_ENDING = (State.DRAINING, State.STOPPING, State.STOPPED)


class Verdict(Enum):
    """Whether as many drones as needed are ready."""

    MET = "met"
    WAITING = "waiting"
    IMPOSSIBLE = "impossible"


def judged(release: Release, drones: Iterable[KnownDrone]) -> tuple[KnownDrone, ...]:
    """The drones that the last deploy of ``release`` asked for, by name; an earlier one may have excused others."""
    return chosen(release if release.asked is None else evolve(release, selector=release.asked), drones)


def statuses(desired: Desired, release: Release, views: Mapping[str, View]) -> tuple[DroneStatus, ...]:
    """How each judged drone stands with ``release``, by name; ``views`` by name, those that are away may be missing."""
    drones = judged(release, desired.drones.values())
    return tuple(status(desired, release, drone, views.get(drone.name, UNSEEN)) for drone in drones)


def status(desired: Desired, release: Release, drone: KnownDrone, view: View) -> DroneStatus:
    """How one chosen drone stands with ``release``."""
    there = runs(release, drone.description)
    if there.problem:
        return DroneStatus(drone.name, "failed", there.problem)
    if release.held_up and (there.roles or runner(desired, release) == drone):
        return waiting_row(desired, release, drone, view)
    if not there.roles:
        return DroneStatus(drone.name, "nothing", "nothing to run here")
    if not view.connected:
        return DroneStatus(drone.name, "away", "not connected to the hub")
    # What somebody has added decides nothing about the release.
    lines = tuple(line for line in wanted_lines(desired, release, drone.description) if not line.extra)
    each = [_of_instance(desired, line, view) for line in lines]
    worst = min(each, key=lambda found: ("failed", "pending", "ready").index(found.state))
    role = f"{lines[each.index(worst)].role}: " if len(lines) > 1 and worst.reason else ""
    return DroneStatus(drone.name, worst.state, role + worst.reason, worst.tail)


def verdict(need: Need, rows: Iterable[DroneStatus]) -> Verdict:
    """Whether ``need`` is met. Drones that are away count, and may return; "nothing to run" is success."""
    states = Counter(row.state for row in rows)
    needed = need.count(states.total())
    good = states["ready"] + states["nothing"]
    if good >= needed > 0:
        return Verdict.MET
    if good + states["pending"] + states["away"] < needed or not states:
        return Verdict.IMPOSSIBLE
    return Verdict.WAITING


def is_busy(desired: Desired, release: Release, views: Mapping[str, View]) -> bool:
    """Whether something that has a timeout of its own is under way for ``release``: a build or its release command."""
    drone = runner(desired, release) if release.held_up else None
    if drone is not None and drone.name not in views:
        return True  # until it is lost
    for name in (each.name for each in ((drone,) if drone else judged(release, desired.drones.values()))):
        for one in views.get(name, UNSEEN).instances.values():
            its = (one.app, one.release) == (release.app, release.name)
            if its and (one.state is State.BUILDING or (release.held_up and not one.state.over)):
                return True
    return False


def judgement(release: Release, rows: Iterable[DroneStatus]) -> Verdict:
    """The verdict on ``release``. While its release command runs there is none: it is broken off for no other drone."""
    found = verdict(release.need, rows)
    hook = release.hook
    if hook is None or hook.done:
        return found
    return Verdict.WAITING if hook.drone or found is Verdict.MET else found


def summary(need: Need, rows: Iterable[DroneStatus]) -> str:
    """Why ``need`` is not met, as a sentence."""
    states = Counter(row.state for row in rows)
    if not states:
        return "no drone is chosen any more"
    good = states["ready"] + states["nothing"]
    others = [f"{states[state]} {state}" for state in ("failed", "pending", "away") if states[state]]
    counts = "".join(f", {text}" for text in others)
    return f"{need.count(states.total())} of {states.total()} drones have to be ready; {good} ready{counts}"


def _of_instance(desired: Desired, line: AssignedInstance, view: View) -> DroneStatus:
    """The status that one instance alone would give its drone."""
    if is_stopped(desired, line.id):
        return DroneStatus("", "failed", f"{line.id} was stopped; restart it, or deploy again")
    seen = view.instances.get(line.id)
    if seen is None or not view.current:
        return DroneStatus("", "pending", view.trouble or "waits for the drone")
    if seen.state is State.READY:
        if seen.generation == line.generation:
            return DroneStatus("", "ready")
        return DroneStatus("", "pending", "is being started anew")
    if seen.state is State.FAILED and seen.generation != line.generation:
        return DroneStatus("", "pending", "is being started anew")
    if is_hopeless(seen) and seen.state not in _ENDING:
        return DroneStatus("", "failed", seen.reason or "does not become ready", seen.tail)
    return DroneStatus("", "pending", seen.reason or _waiting_for(seen), seen.tail)


def _waiting_for(seen: ObservedInstance) -> str:
    if seen.state is State.STARTING:
        return f"does not listen on port {seen.port} yet" if seen.port else "has not run for a second yet"
    return {
        State.WAITING: "its checkout is on the way",
        State.BUILDING: "is being built",
        State.REGISTERING: "its row is not in the port table yet",
        State.BACKOFF: "will be tried again",
    }.get(seen.state, f"is {seen.state.value}")
