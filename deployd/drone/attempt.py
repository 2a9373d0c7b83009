"""Everything that one start of an instance needs, gathered before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from deployd.drone.means import Means, Place
from deployd.drone.problem import Hopeless, Outage
from deployd.errors import Busy, Unreachable
from deployd.model.instance import AssignedInstance
from deployd.model.registration import Registration
from deployd.planning.reconcile import CheckoutKey
from deployd.processes import commands
from deployd.processes.environment import app_environment, bind_host, machine_addresses
from deployd.processes.ports import Port


@frozen
class Attempt:
    """``bind`` is the app's HOST, ``port`` None for a role without one."""

    line: AssignedInstance
    place: Place
    bind: str
    port: Port | None
    cwd: Path
    env: dict[str, str]

    def row(self, drone: str) -> Registration:
        """Its row in the port table, if it has a port."""
        assert self.port is not None
        line = self.line
        return Registration(
            id=line.id,
            namespace=line.commit,
            role=line.role,
            host=self.place.host,
            port=self.port.number,
            app=line.app,
            release=line.release,
            drone=drone,
        )


async def prepare(means: Means, line: AssignedInstance, take_port: Callable[[], Port]) -> Attempt:
    """Raise a DeploydError that says why ``line`` cannot be started.

    Hopeless when that will not change by itself, Outage when it has nothing to do with the app.
    """
    try:
        cwd = await means.checkouts.ensure(CheckoutKey.of(line))
        place = await means.place()
    except (Unreachable, Busy) as error:
        raise Outage(str(error)) from error
    bind = bind_host(place.host, await means.to_thread(machine_addresses))
    port = take_port() if line.port else None
    env = app_environment(
        line,
        drone=means.drone,
        host=bind,
        port=port.number if port else None,
        registry=place.registry,
        registry_url=place.registry_url,
        checkout=str(cwd),
        path=means.path,
    )
    missing = await means.to_thread(commands.missing, line.argv, env, str(cwd))
    if missing is not None:
        raise Hopeless(missing)
    return Attempt(line, place, bind, port, cwd, env)
