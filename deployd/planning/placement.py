"""Which drones a release chooses, what each has to run of it, and so what each is assigned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from attrs import evolve, frozen

from deployd.model.deployd_toml import RELEASE
from deployd.model.desired import Desired, KnownDrone
from deployd.model.drone import DroneDescription
from deployd.model.extra import Extra
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State, instance_id
from deployd.model.names import release_number
from deployd.model.release import Release
from deployd.model.role import RoleCommand, RoleSettings
from deployd.model.router import ReleaseKey

Seen = Mapping[str, ObservedInstance]
"""What a drone reports, by instance id."""

NO_COMMAND = "neither Procfile nor command: commit a Procfile or a deployd.toml with roles, or give the drone a command"
_PLAIN = RoleSettings()
_ENDS_BY_DRAIN = (State.STARTING, State.REGISTERING, State.READY, State.ORPHAN, State.DRAINING)


@frozen
class Runs:
    """What a drone runs of a release; with a ``problem``, a sentence, it cannot run it."""

    roles: tuple[RoleCommand, ...] = ()
    problem: str = ""


def chosen(release: Release, drones: Iterable[KnownDrone]) -> tuple[KnownDrone, ...]:
    """The drones that the release is for, by name; nothing is for one that is being emptied."""
    return tuple(drone for drone in selected(release, drones) if not drone.draining)


def selected(release: Release, drones: Iterable[KnownDrone]) -> tuple[KnownDrone, ...]:
    """The drones that would be chosen if none were draining, by name."""
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
        return Runs((_with_settings(release, own),))
    if release.roles is None:
        return Runs(problem=NO_COMMAND)
    return Runs(tuple(role for role in release.roles if not drone.roles or role.role in drone.roles))


def _with_settings(release: Release, own: RoleCommand) -> RoleCommand:
    """A drone's own command, as what the release says of the role that it plays; a drone runs it once."""
    said = _said(release, own.role)
    if said is None:
        return own
    return evolve(own, port=said.port if said.role else own.port, settings=said.settings)


def _said(release: Release, role: str) -> RoleCommand | None:
    """What a release says of a role; of one that it does not name, what it says of all others."""
    found = {said.role: said for said in (*release.settings, *(release.roles or ()))}
    return found.get(role, found.get(""))


def generation(desired: Desired, release: Release, id: str) -> int:
    """The generation that an instance should be of: it grows with every fresh start that was asked for."""
    order = desired.orders.get(id)
    return release.attempt + (order.restarts if order else 0)


def wanted_lines(desired: Desired, release: Release, drone: DroneDescription) -> Iterator[AssignedInstance]:
    """The instances of ``release`` on ``drone``, as if all should run; none when the drone is not chosen.

    A release command that has begun is let end, on a machine that is emptied too: what it changes half is harder to
    mend than a machine that is empty a little later.
    """
    if is_draining(desired, drone) and not release.held_up:
        return iter(())
    return possible_lines(desired, release, drone)


def possible_lines(desired: Desired, release: Release, drone: DroneDescription) -> Iterator[AssignedInstance]:
    """The instances that ``release`` would have on ``drone`` if that were not draining.

    Note [The release command comes first]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    As long as it is not done, its line is the only one of the release, and only one drone has it: the owner that was
    saved before, so that no other machine, and none that was given the same name, is ever told to run it too.
    """
    hook = release.hook
    if hook is not None and not hook.done:
        if hook.owner == drone.owner:
            yield _line(desired, release, drone, evolve(hook.command, role=RELEASE, port=False), once=True)
        return
    if not release.selector.selects(drone.name, drone.labels):
        return
    for role in runs(release, drone).roles:
        for index in range(role.count):
            yield _line(desired, release, drone, role, index)
    for extra in desired.extras_by_release.get(release.key, ()):
        if _is_for(extra, drone):
            # What is added in a role of the release is checked, stopped and limited as that.
            said = _said(release, extra.role)
            command = RoleCommand(extra.role, extra.argv, extra.port, settings=said.settings if said else _PLAIN)
            yield _line(desired, release, drone, command, extra=extra.name)


def extra_ids(desired: Desired, release: Release, extra: Extra) -> dict[str, str]:
    """The ids of the instances of ``extra``, by the names of the drones that it is for and that are known."""
    its = (release.app, release.name, release.commit, extra.role, 0, extra.name)
    return {
        drone.name: instance_id(drone.owner, *its)
        for drone in selected(release, desired.drones.values())
        if _is_for(extra, drone.description)
    }


def _is_for(extra: Extra, drone: DroneDescription) -> bool:
    return concerns(extra.app, drone) and (not extra.drones or drone.name in extra.drones)


def _line(
    desired: Desired,
    release: Release,
    drone: DroneDescription,
    command: RoleCommand,
    index: int = 0,
    extra: str = "",
    once: bool = False,
) -> AssignedInstance:
    id = instance_id(drone.owner, release.app, release.name, release.commit, command.role, index, extra)
    return AssignedInstance(
        id=id,
        app=release.app,
        release=release.name,
        commit=release.commit,
        role=command.role,
        argv=command.argv,
        port=command.port,
        generation=generation(desired, release, id),
        index=index,
        settings=command.settings,
        build=release.build,
        config=release.config,
        extra=extra,
        once=once,
    )


def is_draining(desired: Desired, drone: DroneDescription) -> bool:
    """Whether somebody empties the machine."""
    known = desired.drones.get(drone.name)
    return known is not None and known.draining and known.owner == drone.owner


def is_stopped(desired: Desired, id: str) -> bool:
    """Whether somebody ordered this instance to be stopped."""
    order = desired.orders.get(id)
    return order is not None and order.stopped


def assignment(
    desired: Desired,
    drone: DroneDescription,
    seen: Seen,
    strange: bool = False,
    drained: Collection[str] = (),
    loud: Collection[ReleaseKey] = (),
) -> tuple[AssignedInstance, ...]:
    """Everything that ``drone`` should have, by instance id.

    ``seen`` is its last report; ``strange`` says that it has not taken an assignment of this hub yet, so that nothing
    of what it runs is ended without an order. ``drained`` are the ids of which no work is under way any more, or that
    have drained for as long as they may; ``loud`` are the retiring releases that still have requests under way.

    Note [Ends in two steps]
    ~~~~~~~~~~~~~~~~~~~~~~~~
    What runs and should not is told to drain, and to stop once it is drained (planning.draining says when). What a
    drone has no process of is told to stop at once, so that a stop that was ordered while it was away needs nothing
    else. When it is stopped, and no release wants it, its line is left out, and the drone forgets it. What runs as
    something older than it should drains too, as what it is, before it is told what it should be.
    """
    lines: dict[str, AssignedInstance] = {}
    for line in _running_lines(desired, drone, seen, loud):
        one = seen.get(line.id)
        if is_stopped(desired, line.id):
            goal = _ending(one, drained)
            # What drains does so as what it is: wanted again, it would seem to be new already.
            of = one.generation if one is not None and goal is Goal.DRAIN else line.generation
            lines[line.id] = evolve(line, goal=goal, generation=of)
        elif one is not None and _is_outdated(one, line) and line.id not in drained:
            lines[line.id] = evolve(line, goal=Goal.DRAIN, generation=one.generation)
        else:
            lines[line.id] = line
    for instance in seen.values():
        if instance.id not in lines and _ends(desired, instance, strange):
            lines[instance.id] = _last_line(desired, drone, instance, drained)
    return tuple(lines[id] for id in sorted(lines))


def _running_lines(
    desired: Desired, drone: DroneDescription, seen: Seen, loud: Collection[ReleaseKey]
) -> Iterator[AssignedInstance]:
    """What should run unless somebody ordered otherwise: of a release that is made quiet, what runs."""
    for release in desired.wanted:
        yield from wanted_lines(desired, release, drone)
    for release in desired.retiring if loud else ():
        if ReleaseKey(release.app, release.name) in loud:
            for line in wanted_lines(desired, release, drone):
                # An orphan is not taken in by a release that goes.
                if line.id in seen and not (seen[line.id].state.over or seen[line.id].state is State.ORPHAN):
                    yield line


def _is_outdated(one: ObservedInstance, line: AssignedInstance) -> bool:
    """Whether an older process than ``line`` asks for may have requests under way."""
    return line.port and one.generation != line.generation and one.state in (State.READY, State.DRAINING)


def _ends(desired: Desired, instance: ObservedInstance, strange: bool) -> bool:
    """Whether an instance that no release wants has to be ended."""
    if instance.state.over:
        return False
    if strange or instance.state is State.ORPHAN:
        return is_stopped(desired, instance.id)
    return True


def _last_line(
    desired: Desired, drone: DroneDescription, instance: ObservedInstance, drained: Collection[str]
) -> AssignedInstance:
    """The line of what is to end: with its command where that is known, as it may be wanted again in the middle."""
    goal = _ending(instance, drained)
    release = desired.releases.get((instance.app, release_number(instance.release) or 0))
    if release is not None:
        for line in possible_lines(desired, release, drone):
            if line.id == instance.id:
                return evolve(line, goal=goal, generation=instance.generation)
    return AssignedInstance(
        id=instance.id,
        app=instance.app,
        release=instance.release,
        commit=instance.commit,
        role=instance.role,
        argv=(),
        port=instance.port != 0,
        goal=goal,
        generation=instance.generation,
    )


def _ending(instance: ObservedInstance | None, drained: Collection[str]) -> Goal:
    if instance is None or instance.id in drained:
        return Goal.STOP
    return Goal.DRAIN if instance.state in _ENDS_BY_DRAIN else Goal.STOP
