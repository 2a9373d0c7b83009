"""Runs the build steps of releases before their roles can run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone import built, caches
from deployd.drone.caches import CacheKey, Caches
from deployd.drone.flights import Flights, Say
from deployd.drone.problem import BuildFailed, Outage
from deployd.drone.steps import Job, Steps, shown
from deployd.model.instance import AssignedInstance
from deployd.model.role import BuildStep
from deployd.planning.disk import Stored
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.ending import ToThread

REMEMBERED = 30.0


class Checkouts(Protocol):
    def keys(self) -> frozenset[CheckoutKey]: ...
    def path(self, key: CheckoutKey) -> Path: ...
    def anew(self, key: CheckoutKey) -> Deferred[None]: ...


class Room(Protocol):
    """The room on the drone's disk (deployd.drone.room)."""

    def need(self, what: str, holder: str, measure: Callable[[], Awaitable[int | None]]) -> Deferred[None]: ...


@frozen
class _Release:
    """What all steps of one build have in common."""

    line: AssignedInstance
    checkout: Path
    config: Mapping[str, str] = field(repr=False)
    say: Say

    @property
    def key(self) -> CheckoutKey:
        return CheckoutKey.of(self.line)

    def job(self, step: BuildStep) -> Job:
        """A step that runs in the checkout."""
        said = {"COMMIT": self.line.commit, "RELEASE": self.line.release}
        id = _task(self.checkout, step.command)
        return Job(self.line, step, id, self.checkout, {**self.config, **said}, self.say)

    def cached_job(self, step: BuildStep, directory: Path) -> Job:
        """A step that runs in the directory of a cache, and should know nothing of the commit."""
        return Job(self.line, step, _task(directory), directory, dict(self.config), self.say)


@frozen
class _Failed:
    error: BuildFailed
    generation: int
    until: float


class Builds:
    """``to_thread`` does what blocks; ``steps`` runs the commands.

    Note [A build that failed]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~
    Every instance of a release tries again by its own back-off, and each try would be a build. So for half a minute a
    failure answers all who ask, but not those who were asked to start afresh (a newer generation).
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        checkouts: Checkouts,
        shelf: Caches,
        steps: Steps,
        room: Room,
        to_thread: ToThread,
    ) -> None:
        self._clock = clock
        self._checkouts = checkouts
        self._caches = shelf
        self._steps = steps
        self._room = room
        self._to_thread = to_thread
        self._releases: Flights[CheckoutKey] = Flights()
        self._making: Flights[CacheKey] = Flights()
        self._links: dict[CheckoutKey, frozenset[CacheKey]] = {}
        self._failed: dict[CheckoutKey, _Failed] = {}
        self._closed = False

    def recall(self) -> None:
        """Find what earlier lives of the drone have built, and end what they were building.

        Blocks; call it once, after the checkouts are known.
        """
        for task in self._caches.clean():
            Deferred.fromCoroutine(self._sweep(task)).addErrback(self._not_swept)
        for key in sorted(self._checkouts.keys()):
            links = built.read(self._checkouts.path(key)).caches
            self._links[key] = frozenset(CacheKey(key.app, digest) for digest in links)

    def ensure(
        self, line: AssignedInstance, checkout: Path, config: Mapping[str, str], say: Callable[[str], None]
    ) -> Deferred[None]:
        """See ``deployd.drone.means.Builds``."""
        if not line.build:
            return succeed(None)
        if self._closed:
            return fail(Outage("the drone is ending"))
        key = CheckoutKey.of(line)
        failed = self._failed.get(key)
        if failed and failed.generation == line.generation and self._clock.seconds() < failed.until:
            return fail(failed.error)
        return self._releases.join(key, lambda said: self._build(_Release(line, checkout, config, said)), say)

    def leave(self, key: CheckoutKey) -> Deferred[None]:
        """The checkout goes: fires once nothing builds in it."""
        self._links.pop(key, None)
        self._failed.pop(key, None)
        return self._releases.end(key)

    def close(self) -> Deferred[None]:
        """End every build; fires once they have ended."""
        self._closed = True
        return self._releases.end_all().addCallback(lambda _: self._making.end_all())

    # The caches as something that takes room (deployd.drone.room).

    def stored(self, holder: str) -> Deferred[list[Stored]]:
        return self._to_thread(self._stored, self._in_use(), self._building())

    async def drop(self, stored: Stored, holder: str) -> None:
        kind, name, *digest = stored.name.split(" ")
        if kind == "home":
            if name not in self._building():
                await self._to_thread(self._caches.empty_home, name)
        elif (key := CacheKey(name, digest[0])) not in self._in_use():
            # Who needs it now waits until it is gone, and makes it again.
            await self._making.join(key, lambda _: self._remove(key), lambda _: None)

    async def drop_half_made(self) -> None:
        """Delete what builds that were killed have left, and what of them still runs."""
        for key in await self._to_thread(self._caches.incomplete_ones):
            if key not in self._making.under_way():
                await self._making.join(key, partial(self._drop_half_made, key), lambda _: None)

    # How that is done.

    async def _sweep(self, task: str) -> None:
        await self._steps.sweep(task)

    def _not_swept(self, failure: Failure) -> None:
        self._log.warn("what was being built before runs on: {error}", error=failure.value)

    async def _build(self, release: _Release) -> None:
        key = release.key
        try:
            await self._steps_of(release)
        except BuildFailed as error:
            until = self._clock.seconds() + REMEMBERED
            self._failed = {key: each for key, each in self._failed.items() if each.until > self._clock.seconds()}
            self._failed[key] = _Failed(error, release.line.generation, until)
            raise
        self._failed.pop(key, None)

    async def _steps_of(self, release: _Release) -> None:
        state = await self._to_thread(built.read, release.checkout)
        if state.done and await self._to_thread(self._all_complete, release.line.app, state):
            return
        if state.touched:
            # See Note [A tree half built]. The drone may have been killed and the step have gone on.
            for step in release.line.build:
                await self._steps.sweep(release.job(step).id)
            await self._checkouts.anew(release.key)
        state = built.Built()
        for number, step in enumerate(release.line.build):
            if step.cache:
                state = await self._linked(release, step, state)
            else:
                state = await self._run_inside(release, step, state)
            self._log.debug("step {number} of {release} is done", number=number, release=release.key)
        await self._to_thread(self._finish, release.checkout, evolve(state, done=True))

    async def _run_inside(self, release: _Release, step: BuildStep, state: built.Built) -> built.Built:
        if not state.touched:
            state = evolve(state, touched=True)
            await self._to_thread(built.write, release.checkout, state)
        await self._steps.run(release.job(step))
        return state

    async def _linked(self, release: _Release, step: BuildStep, state: built.Built) -> built.Built:
        """The checkout with links to what ``step`` makes, which is made unless it is there."""
        key = await self._to_thread(caches.key_of, release.line.app, step, release.checkout)
        # From now on nobody takes it away.
        self._links[release.key] = self._links.get(release.key, frozenset()) | {key}
        while key in self._making.under_way() or not await self._to_thread(self._caches.is_complete, key):
            await self._making.join(key, lambda say: self._make(key, step, evolve(release, say=say)), release.say)
        state = evolve(state, caches=(*state.caches, key.digest))
        await self._to_thread(built.write, release.checkout, state)
        await self._to_thread(self._caches.link, key, step.makes, release.checkout)
        return state

    async def _make(self, key: CacheKey, step: BuildStep, release: _Release) -> None:
        job = release.cached_job(step, self._caches.directory(key))
        await self._room.need(f"{key.app} {release.line.release}", "", lambda: self._to_thread(self._expected, key.app))
        await self._steps.sweep(job.id)
        await self._to_thread(self._caches.begin, key, step.cache, release.checkout)
        await self._steps.run(job)
        release.say(f"building: {shown(step.command)}: saving it")
        await self._to_thread(self._caches.complete, key, step.makes)

    async def _remove(self, key: CacheKey) -> None:
        await self._to_thread(self._caches.remove, key)

    async def _drop_half_made(self, key: CacheKey, say: Say) -> None:
        if not await self._to_thread(self._caches.is_complete, key):
            await self._steps.sweep(_task(self._caches.directory(key)))
            await self._to_thread(self._caches.remove, key)

    def _all_complete(self, app: str, state: built.Built) -> bool:
        return all(self._caches.is_complete(CacheKey(app, digest)) for digest in state.caches)

    def _finish(self, checkout: Path, state: built.Built) -> None:
        if state.touched:
            caches.sync(checkout)
        built.write(checkout, state)

    def _expected(self, app: str) -> int | None:
        """As large as the app's newest one."""
        known = [stored for key, stored in self._caches.complete_ones() if key.app == app]
        return max(known).size if known else None

    def _building(self) -> Collection[str]:
        """The apps of which something is built."""
        return {key.app for key in self._releases.under_way()} | {key.app for key in self._making.under_way()}

    def _in_use(self) -> frozenset[CacheKey]:
        return self._making.under_way().union(*self._links.values())

    def _stored(self, in_use: frozenset[CacheKey], building: Collection[str]) -> list[Stored]:
        made = [evolve(stored, in_use=key in in_use) for key, stored in self._caches.complete_ones()]
        homes = [evolve(stored, in_use=app in building) for app, stored in self._caches.homes()]
        return [*made, *homes]


def _task(directory: Path, command: str = "") -> str:
    """The id of a task: the same in each life of the drone, and another one for another drone."""
    return f"build-{sha256(f'{directory} {command}'.encode()).hexdigest()[:10]}"
