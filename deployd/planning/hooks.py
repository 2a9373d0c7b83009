"""The release command: which drone runs it, and how far that is.

Note [Once, and on one drone]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A release command changes what all share (a database), so that running it twice may do harm. The drone is chosen and
saved before it is told, and it saves that it begins before it begins. Whatever happens to hub or drone then, no other
drone is told, nor this one again: the deploy ends with it, or fails and says so. Only somebody who deploys again has it
run again.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from deployd.model.desired import Desired, KnownDrone
from deployd.model.instance import State
from deployd.model.release import DroneStatus, Release, ReleaseState
from deployd.planning.placement import chosen, concerns, is_stopped, possible_lines, runs
from deployd.planning.view import UNSEEN, View, is_hopeless

HOOK_LEASE = 15.0
"""Seconds that its drone may be away: one that was started anew in them goes on with it."""


@frozen
class Chosen:
    drone: KnownDrone


@frozen
class Done:
    drone: str


@frozen
class Failed:
    """``reason`` is for the release; ``row`` tells of the drone where it failed, if one was to run it."""

    reason: str
    row: DroneStatus | None = None


Decision = Chosen | Done | Failed


def decided(desired: Desired, release: Release, views: Mapping[str, View], lost: bool) -> Decision | None:
    """What follows for the release command of ``release``, which is held up by it; None: it is to be waited for.

    ``views`` are those of connected drones, by name; ``lost``: its drone has been away for longer than it may.
    """
    hook = release.hook
    assert hook is not None
    if not hook.drone:
        return _choice(desired, release, views)
    drone, gone = runner(desired, release), f"{hook.drone} was lost while it ran the release command"
    if drone is None or (lost and hook.drone not in views):
        reason = f"{gone}; whether it finished is unknown"
        return Failed(reason, DroneStatus(hook.drone, "failed", reason))
    row, done = _standing(desired, release, drone, views.get(drone.name, UNSEEN))
    if done:
        return Done(drone.name)
    if row.state == "failed":
        return Failed(f"the release command failed on {drone.name}", row)
    return None


def abandoned(desired: Desired) -> tuple[Release, ...]:
    """The releases whose deploys end as the hub turns out to be restored: it does not know what has run since."""
    reason = "the hub was restored from a backup during this deploy; whether its release command ran is unknown"
    held_up = (release for release in desired.deploying if release.held_up)
    return tuple(evolve(release, state=ReleaseState.FAILED, reason=reason, outcome=()) for release in held_up)


def runner(desired: Desired, release: Release) -> KnownDrone | None:
    """The drone that runs the command, if one was chosen and it is still that one."""
    hook = release.hook
    known = desired.drones.get(hook.drone) if hook is not None else None
    return known if hook is not None and known is not None and known.owner == hook.owner else None


def waiting_row(desired: Desired, release: Release, drone: KnownDrone, view: View) -> DroneStatus:
    """How one of the drones stands with a release that is held up by its command."""
    hook = release.hook
    if hook is not None and hook.drone == drone.name:
        return _standing(desired, release, drone, view)[0]
    if not view.connected:
        return DroneStatus(drone.name, "away", "not connected to the hub")
    where = f"on {hook.drone}" if hook is not None and hook.drone else "to begin somewhere"
    return DroneStatus(drone.name, "pending", f"waits for the release command {where}")


def _choice(desired: Desired, release: Release, views: Mapping[str, View]) -> Chosen | Failed | None:
    """A connected drone: one that runs Procfiles before one that has a command of its own, which may lack what the
    release command needs; of those that run anything of it; the first by name."""
    able = [drone for drone in chosen(release, desired.drones.values()) if concerns(release.app, drone.description)]
    if not able:
        return Failed("no drone of it takes the app, so that none can run the release command")

    def rank(drone: KnownDrone) -> tuple[bool, bool, str]:
        own = bool(drone.description.command)
        return not runs(release, drone.description).roles, own, drone.name

    there = [drone for drone in able if drone.name in views]
    return Chosen(min(there, key=rank)) if there else None


def _standing(desired: Desired, release: Release, drone: KnownDrone, view: View) -> tuple[DroneStatus, bool]:
    """How the drone that runs it stands, and whether it is done."""
    name = drone.name
    if not view.connected:
        return DroneStatus(name, "away", "not connected to the hub, and has to run the release command"), False
    (line,) = possible_lines(desired, release, drone.description)
    if is_stopped(desired, line.id):
        return DroneStatus(name, "failed", f"the release command was stopped ({line.id})"), False
    seen = view.instances.get(line.id)
    if seen is None or seen.generation != line.generation:
        return DroneStatus(name, "pending", view.trouble or "is to run the release command"), False
    reason = f": {seen.reason}" if seen.reason else ""
    if seen.state is State.DONE:
        return DroneStatus(name, "pending", "the release command is done"), True
    if is_hopeless(seen):
        return DroneStatus(name, "failed", f"the release command failed{reason}", seen.tail), False
    if seen.state in (State.STARTING, State.READY):
        return DroneStatus(name, "pending", f"runs the release command{reason}", seen.tail), False
    return DroneStatus(name, "pending", f"release command{reason or ': is ' + seen.state.value}", seen.tail), False
