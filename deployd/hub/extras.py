"""``deployctl spawn``: processes that people add to a release."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from deployd.errors import Refused, UsageError
from deployd.hub.commits import Commits
from deployd.hub.configs import Configs
from deployd.hub.fleet import unknown_drone
from deployd.hub.ledger import Ledger
from deployd.model.deployd_toml import RELEASE
from deployd.model.desired import Changes, Desired
from deployd.model.extra import Extra
from deployd.model.names import app_name, drone_name, role_name, shown
from deployd.model.release import Release
from deployd.model.role import role_has_port
from deployd.model.words import check_command
from deployd.planning.placement import chosen, concerns, extra_ids, is_stopped

ROLE = "run"
MAX_OF_RELEASE = 100
MAX_OF_ALL = 1000
MAX_DRONES = 10_000


@frozen
class Asked:
    """What to add to which release: on the ``drones`` named, or on all that it has ever; ``role`` "" is ``run``."""

    app: str
    commit: str
    drones: tuple[str, ...]
    role: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


@frozen
class Added:
    """``ids`` of its instances, by the names of the drones that the release has now."""

    release: Release
    ids: dict[str, str]


class Extras:
    """What is stopped can be restarted; it goes for good with its release, or when so many came after it that its
    place is needed."""

    def __init__(self, ledger: Ledger, commits: Commits, configs: Configs) -> None:
        self._ledger = ledger
        self._commits = commits
        self._configs = configs

    async def add(self, asked: Asked, who: str) -> Added:
        """Save an extra. Raise Invalid, UsageError, UnknownApp, UnknownCommit, UnknownDrone, Refused."""
        _check(asked)
        release = await self._commits.release(app_name(asked.app), asked.commit)
        sealed = await self._configs.sealed(asked.env)
        added: list[Added] = []

        def decide(desired: Desired) -> Changes:
            known = desired.releases[release.key]
            names = _drones(desired, known, asked.drones)
            extra = _extra(desired, known, asked, sealed)
            ids = extra_ids(desired, known, extra)
            added.append(Added(known, {name: ids[name] for name in names}))
            # Not all of the command: what a person types may hold a secret.
            detail = f"{known.name} {extra.role} {shown(extra.argv[0])} on {_listed(names)}"
            event = self._ledger.event("spawn", who, known.app, detail)
            return evolve(_room(desired, known), extras=(extra,), events=(event,))

        await self._ledger.change(decide)
        return added[0]


def _check(asked: Asked) -> None:
    if not asked.argv:
        raise UsageError("a command is needed: `deployctl spawn APP COMMIT -- COMMAND`")
    check_command(asked.argv, "the command")
    if asked.role and role_name(asked.role) == RELEASE:
        raise UsageError("the role 'release' runs once per release, before the others; give --role another name")
    if len(asked.drones) > MAX_DRONES:
        raise UsageError(f"at most {MAX_DRONES} drones can be named")


def _drones(desired: Desired, release: Release, named: Sequence[str]) -> list[str]:
    """Where it runs now. Raise Invalid, UnknownDrone, Refused."""
    what = f"{release.app} {release.name}"
    if not release.state.wanted:
        raise Refused(f"{what} is {release.state.value}; deploy it first")
    drones = chosen(release, desired.drones.values())
    there = [drone.name for drone in drones if concerns(release.app, drone.description)]
    for name in named:
        if drone_name(name) not in desired.drones:
            raise unknown_drone(name)
        if desired.drones[name].draining:
            raise Refused(f"{name} is being emptied; `deployctl undrain {name}` first")
        if name not in there:
            raise Refused(f"{what} is not on {name}; deploy it there first")
    if not there:
        raise Refused(f"no drone runs {what}")
    return [name for name in there if not named or name in named]


def _extra(desired: Desired, release: Release, asked: Asked, sealed: str) -> Extra:
    name = secrets.token_hex(4)
    while name in desired.extras:
        name = secrets.token_hex(4)
    return Extra(
        name=name,
        app=release.app,
        number=release.number,
        role=asked.role or ROLE,
        argv=asked.argv,
        port=_has_port(release, asked.role),
        drones=frozenset(asked.drones),
        sealed=sealed,
    )


def _has_port(release: Release, role: str) -> bool:
    """As the release says of the role, or its name does; without one it is just a process."""
    said = {each.role: each.port for each in (*(release.roles or ()), *release.settings)}
    return bool(role) and said.get(role, role_has_port(role))


def _room(desired: Desired, release: Release) -> Changes:
    """What goes to make room for one more: those that are stopped on every drone. Raise Refused."""
    its = desired.extras_by_release.get(release.key, ())
    if len(its) < MAX_OF_RELEASE and len(desired.extras) < MAX_OF_ALL:
        return Changes()
    ended, dropped = [], []
    for extra in its:
        ids = extra_ids(desired, release, extra).values()
        if all(is_stopped(desired, id) for id in ids):
            ended.append(extra.name)
            dropped += [id for id in ids if id in desired.orders]
    if len(its) - len(ended) >= MAX_OF_RELEASE:
        raise Refused(f"{release.app} {release.name} has {MAX_OF_RELEASE} spawned processes; stop some first")
    if len(desired.extras) - len(ended) >= MAX_OF_ALL:
        raise Refused(f"the hub has {MAX_OF_ALL} spawned processes; stop some, or retire what is not used")
    return Changes(ended=tuple(ended), dropped=tuple(dropped))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
