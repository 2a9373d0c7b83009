"""The checkouts that the drone's instances run in, and the mirrors of the hub's repositories behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone import disk
from deployd.drone.disk import Tree
from deployd.drone.problem import Hopeless
from deployd.errors import DeploydError, Refused
from deployd.git.mirror import checkouts, marks
from deployd.planning.disk import Stored
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.ending import ToThread

FETCH_TIMEOUT = 600.0
SPARE_TIMEOUT = 30.0
SETTLE_AFTER = 30.0
MAX_SPARE = 10
MAX_SIZES = 100
T = TypeVar("T")


@frozen
class Source:
    """Where the commits of one app come from; ``token`` reads its repository for a few minutes."""

    url: str
    token: str


class Room(Protocol):
    """See ``deployd.drone.room``."""

    def need(self, what: str, holder: str, measure: Callable[[], Awaitable[int | None]]) -> Deferred[None]: ...


class Mirrors(Protocol):
    """See ``deployd.git.mirror.mirrors``."""

    async def has(self, mirror: Path, commit: str) -> bool: ...
    async def fetch(self, mirror: Path, url: str, token: str, commit: str, timeout: float) -> None: ...
    async def size(self, mirror: Path, commit: str) -> int: ...
    async def checkout(self, mirror: Path, commit: str, target: Path) -> None: ...
    async def keep(self, mirror: Path, commits: Collection[str]) -> None: ...


class Checkouts:
    """``to_thread`` runs blocking work in a few threads; ``source`` asks the hub where an app comes from.

    ``made`` is called after each checkout that somebody waited for, whether it is there now or could not be made, and
    ``left`` before one is deleted: it fires once nothing is written into it any more.

    Note [Spare checkouts]
    ~~~~~~~~~~~~~~~~~~~~~~
    What is pushed is likely to be deployed, so it is fetched and checked out at once, as a *spare* under its commit.
    The first release of that commit takes the spare by a rename: its deploy needs neither network nor writing. The
    newest ten are kept; what goes takes its objects in the mirror along.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        tree: Tree,
        to_thread: ToThread,
        source: Callable[[str], Deferred[Source]],
        mirrors: Mirrors,
        room: Room,
        made: Callable[[], None] = lambda: None,
        left: Callable[[CheckoutKey], Deferred[Any]] = lambda _: succeed(None),
    ) -> None:
        self._clock = clock
        self._tree = tree
        self._to_thread = to_thread
        self._source = source
        self._mirrors = mirrors
        self._room = room
        self._there: set[CheckoutKey] = set()
        self._spare: dict[tuple[str, str], None] = {}
        self._mirrored: set[tuple[str, str]] = set()
        self._waiting: dict[CheckoutKey, list[Deferred[Path]]] = {}
        self._locks: dict[str, DeferredLock] = {}
        self._settling: dict[CheckoutKey, IDelayedCall] = {}
        self._sizes: dict[str, int] = {}
        self._say_made = made
        self._leave = left

    def clean(self) -> Deferred[None]:
        """Find what is on disk and delete what a kill left half done. Blocks; call it once, first.

        Fires when the mirrors have nothing either that no checkout needs, which nobody need wait for.
        """
        found = disk.clean(self._tree)
        self._there.update(found.checkouts)
        self._spare.update(dict.fromkeys(found.spares))
        self._mirrored.update(found.used)
        return Deferred.fromCoroutine(self._tidy(found.mirrors))

    async def _tidy(self, apps: list[str]) -> None:
        for app in apps:
            try:
                await self._locked(app, self._keep(app))
            except DeploydError as error:
                # Its space can wait.
                self._log.warn("cannot clean the mirror of {app}: {error}", app=app, error=error)

    def close(self) -> None:
        for call in self._settling.values():
            call.cancel()
        self._settling.clear()

    @property
    def busy(self) -> bool:
        """Whether a deploy waits for a checkout."""
        return bool(self._waiting)

    def keys(self) -> frozenset[CheckoutKey]:
        """The checkouts on disk."""
        return frozenset(self._there)

    def path(self, key: CheckoutKey) -> Path:
        return self._tree.checkout(key)

    def ensure(self, key: CheckoutKey) -> Deferred[Path]:
        """The directory of ``key``, made when it is not there; fails with a DeploydError that says why.

        Cancelling only stops waiting: whoever else waits for the same gets it.
        """
        if key in self._there:
            return succeed(self._tree.checkout(key))
        waiter: Deferred[Path] = Deferred()
        self._waiting.setdefault(key, []).append(waiter)
        if len(self._waiting[key]) == 1:
            Deferred.fromCoroutine(self._locked(key.app, self._make(key))).addBoth(self._made, key)
        return waiter

    def anew(self, key: CheckoutKey) -> Deferred[None]:
        """Make the checkout of ``key``, which is there, once more."""
        return Deferred.fromCoroutine(self._locked(key.app, self._make_anew(key)))

    async def fetch_spare(self, app: str, commit: str) -> None:
        """Make a spare checkout of ``commit`` unless there is one of it; raise a DeploydError."""
        await self._locked(app, self._make_spare(app, commit))

    async def remove(self, key: CheckoutKey) -> None:
        """Delete the checkout of a release that is gone, and its objects if nothing else here has that commit."""
        if key in self._there:
            self._there.discard(key)
            settling = self._settling.pop(key, None)
            if settling is not None:
                settling.cancel()
            await self._locked(key.app, self._remove_left(key))

    # The spare ones as something that takes room (deployd.drone.room).

    def stored(self, holder: str) -> Deferred[list[Stored]]:
        """Those that can go now: nobody else makes or takes one of an app that is locked by whoever asks."""
        free = [spare for spare in self._spare if spare[0] == holder or not self._is_locked(spare[0])]
        return self._to_thread(disk.stored, self._tree, free)

    async def drop(self, stored: Stored, holder: str) -> None:
        spare = disk.spare_of(stored)
        if spare[0] == holder:
            await self._drop(spare)
        elif not self._is_locked(spare[0]):
            await self._locked(spare[0], self._drop(spare))

    async def _drop(self, spare: tuple[str, str]) -> None:
        if spare in self._spare:
            del self._spare[spare]
            await self._remove(self._tree.spare(*spare), *spare)

    def _is_locked(self, app: str) -> bool:
        return app in self._locks and bool(self._locks[app].locked)

    async def _locked(self, app: str, work: object) -> None:
        """One at a time for each app: two fetches into one mirror would only wait for each other."""
        lock = self._locks.setdefault(app, DeferredLock())
        await lock.acquire()
        try:
            await work  # type: ignore[misc]
        except OSError as error:
            raise Refused(f"cannot write the files of {app}: {error.strerror}") from error
        finally:
            lock.release()

    async def _make(self, key: CheckoutKey) -> None:
        path = self._tree.checkout(key)
        if not await self._to_thread(disk.take_spare, self._tree.spare(key.app, key.commit), path):
            await self._write(f"{key.app} {key.release}", key.app, key.commit, path, FETCH_TIMEOUT)
        self._spare.pop((key.app, key.commit), None)
        self._there.add(key)
        self._settling[key] = self._clock.callLater(SETTLE_AFTER, self._settle, key, path)

    async def _make_anew(self, key: CheckoutKey) -> None:
        path = self._tree.checkout(key)
        try:
            await self._to_thread(disk.remove, path)
            await self._write(f"{key.app} {key.release}", key.app, key.commit, path, FETCH_TIMEOUT)
        except BaseException:
            self._there.discard(key)
            raise

    async def _write(self, what: str, app: str, commit: str, path: Path, timeout: float) -> None:
        """Fetch and check out, both only if there is room; what ends up nowhere is not left in the mirror either."""
        mirror = self._tree.mirror(app)
        if not await self._mirrors.has(mirror, commit):
            await self._room.need(what, app, lambda: self._guess(app, commit))
            source = await self._source(app)
            await self._mirrors.fetch(mirror, source.url, source.token, commit, timeout)
        self._mirrored.add((app, commit))
        try:
            await self._room.need(what, app, lambda: self._measure(mirror, commit))
            await self._check_out(mirror, commit, path)
        except Hopeless:
            if all((key.app, key.commit) != (app, commit) for key in self._there):
                await self._forget(app, commit)
            raise

    async def _guess(self, app: str, commit: str) -> int | None:
        """What a commit will take that is not here yet: what it would have taken before, or as much as the last one."""
        others = [self._tree.checkout(key) for key in sorted(self._there, key=_age) if key.app == app]
        return self._sizes.get(commit) or await self._to_thread(disk.newest_size, others)

    async def _measure(self, mirror: Path, commit: str) -> int:
        size = await self._refusing(self._mirrors.size(mirror, commit))
        # What is too large is tried again and again, and need not be fetched each time.
        self._sizes[commit] = size
        while len(self._sizes) > MAX_SIZES:
            del self._sizes[next(iter(self._sizes))]
        return size

    async def _check_out(self, mirror: Path, commit: str, path: Path) -> None:
        await self._to_thread(disk.make_way, path)
        try:
            await self._refusing(self._mirrors.checkout(mirror, commit, path))
        except (DeploydError, OSError):
            # A worker that died has not cleaned up.
            await self._to_thread(checkouts.clean, path.parent)
            raise

    async def _refusing(self, work: Awaitable[T]) -> T:
        """What may not be checked out now never may."""
        try:
            return await work
        except Refused as error:
            raise Hopeless(str(error)) from error

    def _made(self, result: Failure | None, key: CheckoutKey) -> None:
        for waiter in self._waiting.pop(key):
            if not waiter.called:
                waiter.callback(self._tree.checkout(key) if result is None else result)
        self._say_made()

    async def _make_spare(self, app: str, commit: str) -> None:
        if (app, commit) in self._spare or self._in_use(app, commit):
            return
        # A deploy of the app may have to wait for this.
        await self._write(f"{app} {commit[:12]}", app, commit, self._tree.spare(app, commit), SPARE_TIMEOUT)
        self._spare[app, commit] = None
        while len(self._spare) > MAX_SPARE:
            await self._drop(next(iter(self._spare)))

    async def _remove_left(self, key: CheckoutKey) -> None:
        await self._leave(key)
        await self._remove(self._tree.checkout(key), key.app, key.commit)

    async def _remove(self, path: Path, app: str, commit: str) -> None:
        await self._to_thread(disk.remove, path)
        if not self._in_use(app, commit):
            await self._forget(app, commit)

    async def _forget(self, app: str, commit: str) -> None:
        self._mirrored.discard((app, commit))
        await self._keep(app)

    async def _keep(self, app: str) -> None:
        """Let the mirror of an app have no other commits than it should."""
        await self._mirrors.keep(self._tree.mirror(app), {commit for owner, commit in self._mirrored if owner == app})

    def _in_use(self, app: str, commit: str) -> bool:
        keys = (*self._there, *self._waiting)
        return (app, commit) in self._spare or any((key.app, key.commit) == (app, commit) for key in keys)

    def _settle(self, key: CheckoutKey, path: Path) -> None:
        del self._settling[key]
        settling = self._to_thread(marks.settle, path)
        settling.addErrback(lambda failure: self._log.debug("not settled: {error}", error=failure.value))


def _age(key: CheckoutKey) -> tuple[int, str]:
    """``v9`` is older than ``v10``."""
    return len(key.release), key.release
