"""Which drones a release chooses, what each has to run of it, and so what each is assigned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from attrs import frozen

from deployd.model.desired import Desired, KnownDrone
from deployd.model.drone import DroneDescription
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State, instance_id
from deployd.model.manifest import RoleCommand
from deployd.model.release import Release

Seen = Mapping[str, ObservedInstance]
"""What a drone reports, by instance id."""

NO_COMMAND = "neither Procfile nor command: start the drone with `-- COMMAND`, or commit a Procfile"
_HAS_ROW = (State.STARTING, State.REGISTERING, State.READY, State.ORPHAN)


@frozen
class Runs:
    """What a drone runs of a release; with a ``problem``, a sentence, it cannot run it."""

    roles: tuple[RoleCommand, ...] = ()
    problem: str = ""


def chosen(release: Release, drones: Iterable[KnownDrone]) -> tuple[KnownDrone, ...]:
    """The drones that the release is for, by name."""
    found = [drone for drone in drones if release.selector.selects(drone.name, drone.description.labels)]
    return tuple(sorted(found, key=lambda drone: drone.name))


def needs_procfile(app: str, drone: DroneDescription) -> bool:
    """Whether what the drone runs of ``app`` is for the app's Procfile to say."""
    return concerns(app, drone) and not drone.command


def concerns(app: str, drone: DroneDescription) -> bool:
    """Whether the drone takes ``app`` at all."""
    return not drone.apps or app in drone.apps


def runs(release: Release, drone: DroneDescription) -> Runs:
    """What ``drone`` has to run of ``release``, should it be chosen."""
    if not concerns(release.app, drone):
        return Runs()
    own = drone.own_role()
    if own is not None:
        return Runs((own,))
    if release.roles is None:
        return Runs(problem=NO_COMMAND)
    return Runs(tuple(role for role in release.roles if not drone.roles or role.role in drone.roles))


def generation(desired: Desired, release: Release, id: str) -> int:
    """The generation that an instance should be of: it grows with every fresh start that was asked for."""
    order = desired.orders.get(id)
    return release.attempt + (order.restarts if order else 0)


def wanted_lines(desired: Desired, release: Release, drone: DroneDescription) -> Iterator[AssignedInstance]:
    """The instances of ``release`` on ``drone``, as if all should run; none when the drone is not chosen."""
    if not release.selector.selects(drone.name, drone.labels):
        return
    for role in runs(release, drone).roles:
        id = instance_id(drone.owner, release.app, release.name, release.commit, role.role)
        yield AssignedInstance(
            id=id,
            app=release.app,
            release=release.name,
            commit=release.commit,
            role=role.role,
            argv=role.argv,
            port=role.port,
            generation=generation(desired, release, id),
        )


def is_stopped(desired: Desired, id: str) -> bool:
    """Whether somebody ordered this instance to be stopped."""
    order = desired.orders.get(id)
    return order is not None and order.stopped


def assignment(
    desired: Desired, drone: DroneDescription, seen: Seen, strange: bool = False, overdue: Collection[str] = ()
) -> tuple[AssignedInstance, ...]:
    """Everything that ``drone`` should have, by instance id.

    ``seen`` is its last report; ``strange`` says that it has not taken an assignment of this hub yet, so that nothing
    of what it runs is ended without an order. ``overdue`` are the ids whose drain took longer than it may.

    Note [Ends in two steps]
    ~~~~~~~~~~~~~~~~~~~~~~~~
    What runs and should not is told to drain, and to stop once it is out of the port table. What a drone has no process
    of is told to stop at once, so that a stop that was ordered while it was away needs nothing else. When it is
    stopped, and no release wants it, its line is left out, and the drone forgets it.
    """
    lines: dict[str, AssignedInstance] = {}
    for release in desired.wanted:
        for line in wanted_lines(desired, release, drone):
            stopped = is_stopped(desired, line.id)
            lines[line.id] = _to(line, _ending(seen.get(line.id), overdue)) if stopped else line
    for instance in seen.values():
        if instance.id not in lines and _ends(desired, instance, strange):
            lines[instance.id] = _last_line(desired, instance, overdue)
    return tuple(lines[id] for id in sorted(lines))


def _ends(desired: Desired, instance: ObservedInstance, strange: bool) -> bool:
    """Whether an instance that no release wants has to be ended."""
    if instance.state is State.STOPPED:
        return False
    if strange or instance.state is State.ORPHAN:
        return is_stopped(desired, instance.id)
    return True


def _last_line(desired: Desired, instance: ObservedInstance, overdue: Collection[str]) -> AssignedInstance:
    return AssignedInstance(
        id=instance.id,
        app=instance.app,
        release=instance.release,
        commit=instance.commit,
        role=instance.role,
        argv=(),
        port=instance.port != 0,
        goal=_ending(instance, overdue),
        generation=instance.generation,
    )


def _ending(instance: ObservedInstance | None, overdue: Collection[str]) -> Goal:
    if instance is None or instance.id in overdue:
        return Goal.STOP
    if instance.state is State.DRAINING:
        return Goal.DRAIN if instance.deregistered is None else Goal.STOP
    return Goal.DRAIN if instance.state in _HAS_ROW else Goal.STOP


def _to(line: AssignedInstance, goal: Goal) -> AssignedInstance:
    return AssignedInstance(
        line.id, line.app, line.release, line.commit, line.role, line.argv, line.port, goal, line.generation
    )
