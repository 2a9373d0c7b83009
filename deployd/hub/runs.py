"""``deployctl exec``: commands that people run in a release on its drones."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from deployd.errors import DroneAway, Refused, UsageError
from deployd.hub.commits import Commits
from deployd.hub.fleet import Fleet, unknown_drone
from deployd.hub.ledger import Ledger
from deployd.model.desired import Changes
from deployd.model.instance import AssignedInstance
from deployd.model.release import Release
from deployd.model.role import RoleSettings
from deployd.model.variables import variables
from deployd.model.words import check_command
from deployd.planning.placement import wanted_lines
from deployd.wire.documents import dump
from deployd.wire.fleet import BeginRun, EndRun, ReadRun, WriteRun

ROLE = "exec"
MAX_DRONES = 100
MAX_WAIT = 20.0
GRACE = 15.0


@frozen
class Asked:
    """What to run: in which release, on ``every`` one of its drones, on those named, or on one of them."""

    app: str
    commit: str
    drones: tuple[str, ...]
    every: bool
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


class Runs:
    """The hub keeps nothing of them: who began one knows its drone and its name."""

    _log = Logger()

    def __init__(self, ledger: Ledger, fleet: Fleet, commits: Commits) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._commits = commits

    async def begin(self, asked: Asked, who: str) -> tuple[Release, dict[str, str]]:
        """The release, and the name of the run on each drone.

        Raise Invalid, UsageError, UnknownApp, UnknownCommit, UnknownDrone, DroneAway, Refused, Busy; then nothing runs.
        """
        if not asked.argv:
            raise UsageError("a command is needed: `deployctl exec APP COMMIT -- COMMAND`")
        check_command(asked.argv, "the command")
        env = dump(variables(asked.env))
        await self._commits.check_app(asked.app)
        release = await self._commits.release(asked.app, asked.commit)
        drones = self._drones(release, asked)
        what = f"{release.name} on {', '.join(drones[:10])}{' ...' if len(drones) > 10 else ''}"
        event = self._ledger.event("exec", who, release.app, what)
        await self._ledger.change(lambda desired: Changes(events=(event,)))
        runs = {drone: f"{ROLE}-{secrets.token_hex(8)}" for drone in drones}
        beginning = [self._begin(release, drone, run, asked.argv, env) for drone, run in runs.items()]
        results: Any = await DeferredList(beginning, consumeErrors=True)
        failures = [result for succeeded, result in results if not succeeded]
        if failures:
            self.end({run: drone for drone, run in runs.items()})
            failures[0].raiseException()
        return release, runs

    async def read(self, drone: str, run: str, wait: float) -> dict[str, Any]:
        """What a run has printed (wire.fleet.ReadRun). Raise UnknownInstance, DroneAway."""
        wait = min(max(wait, 0.0), MAX_WAIT)
        return await self._fleet.ask(drone, ReadRun, {"run": run, "wait": wait}, wait + GRACE)

    async def write(self, drone: str, run: str, data: bytes, end: bool) -> dict[str, Any]:
        """Give input to a run (wire.fleet.WriteRun). Raise UnknownInstance, DroneAway."""
        return await self._fleet.ask(drone, WriteRun, {"run": run, "data": data, "end": end}, MAX_WAIT + GRACE)

    def end(self, runs: Mapping[str, str]) -> None:
        """Nobody wants these any more: names of runs, and where they are. One that hears nothing ends by itself."""
        for run, drone in runs.items():
            ending = Deferred.fromCoroutine(self._fleet.ask(drone, EndRun, {"run": run}, GRACE))
            ending.addErrback(lambda failure: self._log.info("a run is not ended: {error}", error=failure.value))

    def _drones(self, release: Release, asked: Asked) -> list[str]:
        desired = self._ledger.desired
        what = f"{release.app} {release.name}"
        if not release.state.wanted:
            raise Refused(f"{what} is {release.state.value}; deploy it first")
        for name in asked.drones:
            if name not in desired.drones:
                raise unknown_drone(name)
        having = [name for name in sorted(desired.drones) if self._has(release, name)]
        for name in asked.drones:
            if name not in having:
                raise Refused(f"{name} runs nothing of {what}")
        if not having:
            raise Refused(f"no drone runs {what}")
        if asked.every or asked.drones:
            chosen = [name for name in having if asked.every or name in asked.drones]
        else:
            chosen = [name for name in having if self._fleet.is_connected(name)][:1]
        if not chosen:
            raise DroneAway(f"no drone that runs {what} is connected to the hub")
        if len(chosen) > MAX_DRONES:
            raise Refused(f"a command can run on {MAX_DRONES} drones at once, and {what} is on {len(chosen)}")
        return chosen

    def _has(self, release: Release, name: str) -> bool:
        desired = self._ledger.desired
        return any(True for _ in wanted_lines(desired, release, desired.drones[name].description))

    def _begin(self, release: Release, drone: str, run: str, argv: tuple[str, ...], env: bytes) -> Deferred[Any]:
        asked = {"run": run, "line": _line(release, run, argv), "env": env}
        return Deferred.fromCoroutine(self._fleet.ask(drone, BeginRun, asked, GRACE))


def _line(release: Release, run: str, argv: tuple[str, ...]) -> AssignedInstance:
    """What ``deployd.toml`` gives to every role is for this one, too."""
    found = (role.settings.env for role in release.settings if not role.role)
    return AssignedInstance(
        id=run,
        app=release.app,
        release=release.name,
        commit=release.commit,
        role=ROLE,
        argv=argv,
        port=False,
        settings=RoleSettings(env=next(found, {})),
        build=release.build,
        config=release.config,
        once=True,
    )
