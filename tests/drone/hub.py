"""A hub to fetch from, and checkouts of its commits."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone import disk
from deployd.drone.checkouts import Checkouts, Source
from deployd.drone.disk import Tree
from deployd.drone.room import Room
from deployd.errors import UnknownCommit, Unreachable
from deployd.git.limits import GitLimits
from deployd.git.mirror import fetching
from deployd.git.mirror.mirrors import Mirrors
from deployd.git.work.orders import Answer, Order
from deployd.planning.disk import Stored
from deployd.planning.reconcile import CheckoutKey
from deployd.testing.git_worker import run_here
from tests.git.forge import Objects


class Hub:
    """Has the commits that were made with it; ``fetched`` are those that somebody has asked for."""

    def __init__(self) -> None:
        self.packs: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.timeouts: list[float] = []
        self.away = False
        self.tokens: list[str] = []

    def commit(self, content: bytes = b"print()\n", name: bytes = b"app.py") -> str:
        objects = Objects()
        commit = objects.commit(objects.tree(("100644", name, objects.blob(content))))
        self.packs[commit] = objects.pack()
        return commit

    def source(self, app: str) -> Deferred[Source]:
        if self.away:
            return fail(Unreachable("the hub is away"))
        return succeed(Source(f"http://hub/{app}.git", "token"))

    def fetch(self, mirror: Path, token: str, commit: str, timeout: float) -> None:
        self.fetched.append(commit)
        self.timeouts.append(timeout)
        self.tokens.append(token)
        if commit not in self.packs:
            raise UnknownCommit(f"the hub has no commit {commit[:12]} for this drone")
        fetching.create_mirror(mirror)
        fetching.store(mirror, commit, io.BytesIO(self.packs[commit]), GitLimits())


@frozen
class HubMirrors(Mirrors):
    """Fetches from ``hub``, in ``to_thread`` as all else is done."""

    hub: Hub = field(kw_only=True)
    to_thread: Callable[..., Deferred[Any]] = field(kw_only=True)

    async def fetch(self, mirror: Path, url: str, token: str, commit: str, timeout: float) -> None:
        await self.to_thread(self.hub.fetch, mirror, token, commit, timeout)


class NoCaches:
    def stored(self, holder: str) -> Deferred[list[Stored]]:
        return succeed([])

    async def drop(self, stored: Stored, holder: str) -> None:
        raise AssertionError(stored)

    async def drop_half_made(self) -> None:
        """There is none."""


class CheckoutsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub()
        self.tree = Tree(Path(self.mktemp()).absolute())
        self.held: list[Deferred[None]] | None = None
        self.made: list[frozenset[CheckoutKey]] = []
        self.left: list[tuple[CheckoutKey, bool]] = []
        self.building: Deferred[None] | None = None
        self.free = 10 << 30
        self.checkouts = self.begin()

    def begin(self) -> Checkouts:
        top = self.tree.top / "checkouts"
        room = Room(Clock(), self.to_thread, top, lambda: disk.size_of(top), 0, 0, free=lambda _: (self.free, 0))
        checkouts = Checkouts(
            self.clock,
            self.tree,
            self.to_thread,
            self.hub.source,
            HubMirrors(self.run_job, GitLimits(), hub=self.hub, to_thread=self.to_thread),
            room,
            self.say_made,
            self.leave,
        )
        room.open(checkouts, NoCaches())
        self.addCleanup(room.close)
        self.successResultOf(checkouts.clean())
        return checkouts

    def run_job(self, order: Order) -> Deferred[Answer]:
        return self.to_thread(run_here, order)

    def leave(self, key: CheckoutKey) -> Deferred[None]:
        self.left.append((key, self.tree.checkout(key).is_dir()))
        return self.building or succeed(None)

    def say_made(self) -> None:
        self.made.append(self.checkouts.keys())

    def to_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """At once, unless the test holds the threads back."""
        if self.held is None:
            return execute(function, *arguments)
        gate: Deferred[Any] = Deferred()
        self.held.append(gate)
        return gate.addCallback(lambda _: function(*arguments))

    def let_go(self) -> None:
        held, self.held = self.held or [], None
        for gate in held:
            gate.callback(None)

    def key(self, commit: str, release: str = "v1", app: str = "webapp") -> CheckoutKey:
        return CheckoutKey(app, release, commit)

    def have(self, key: CheckoutKey) -> Path:
        return self.successResultOf(self.checkouts.ensure(key))

    def spare(self, commit: str, app: str = "webapp") -> None:
        self.successResultOf(Deferred.fromCoroutine(self.checkouts.fetch_spare(app, commit)))

    def remove(self, key: CheckoutKey) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.checkouts.remove(key)))
