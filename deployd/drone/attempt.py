"""Everything that one start of an instance needs, gathered before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from deployd.drone.isolation import Isolation
from deployd.drone.logs import log_name
from deployd.drone.means import Means, Place
from deployd.drone.problem import Hopeless, Outage
from deployd.errors import Busy, Unreachable
from deployd.model.address import Address
from deployd.model.instance import AssignedInstance
from deployd.model.registration import Registration
from deployd.planning.reconcile import CheckoutKey
from deployd.processes import commands
from deployd.processes.environment import app_environment, bind_host
from deployd.processes.ports import Port
from deployd.wire.keeping import Launch


@frozen
class Attempt:
    """``bind`` is the app's HOST, ``port`` None for a role without one.

    ``cwd`` and ``env`` are empty in the attempt of an earlier life of the drone.
    """

    line: AssignedInstance
    place: Place
    bind: str
    port: Port | None
    cwd: Path = Path()
    env: dict[str, str] = field(factory=dict, repr=False)

    @property
    def log(self) -> str:
        line = self.line
        return log_name(line.app, line.release, line.commit, line.id)

    def launch(self, isolation: Isolation, env: Mapping[str, str] | None = None) -> Launch:
        """Its start; ``env`` adds to its environment."""
        line = self.line
        listen = str(Address(self.bind, self.port.number)) if self.port and line.settings.socket else ""
        launch = Launch(line.id, line.argv, {**self.env, **(env or {})}, str(self.cwd), self.log, listen)
        return isolation.confine(launch, line.app, line.settings.limits)

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


async def prepare(
    means: Means, line: AssignedInstance, take_port: Callable[[], Port], say: Callable[[str], None]
) -> Attempt:
    """Raise a DeploydError that says why ``line`` cannot be started; ``say`` hears how its build goes.

    Hopeless when that will not change by itself, Outage when it has nothing to do with the app.
    """
    attempt = await gather(means, line, take_port, say)
    missing = await means.to_thread(_make_ready, means, attempt)
    if missing is not None:
        raise Hopeless(missing)
    return attempt


async def gather(
    means: Means, line: AssignedInstance, take_port: Callable[[], Port], say: Callable[[str], None]
) -> Attempt:
    """As ``prepare``, without touching what an app that runs uses."""
    try:
        cwd = await means.checkouts.ensure(CheckoutKey.of(line))
        config = await means.configs.values(line)
        await means.builds.ensure(line, cwd, config, say)
        if means.isolation.users is not None:
            await means.to_thread(means.isolation.own, line.app, cwd)
        place = await means.place()
    except (Unreachable, Busy) as error:
        raise Outage(str(error)) from error
    bind = bind_host(place.host, await means.addresses())
    port = take_port() if line.port else None
    env = app_environment(
        line,
        drone=means.drone,
        host=bind,
        port=port.number if port else None,
        registry=place.registry,
        registry_url=place.registry_url,
        checkout=str(cwd),
        config=config,
        path=means.path,
        tmpdir=str(means.scratch.path(line.id)),
    )
    return Attempt(line, place, bind, port, cwd, env)


def _make_ready(means: Means, attempt: Attempt) -> str | None:
    """Why it cannot be run; in one trip to the thread."""
    means.scratch.make(attempt.line.id)
    means.isolation.make(attempt.line, means.scratch.path(attempt.line.id))
    return commands.missing(attempt.line.argv, attempt.env, str(attempt.cwd))
