"""What the hub wants, and the one way to change it: saved first, then true."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from deployd.errors import Refused
from deployd.hub.numbers import Numbers
from deployd.interfaces import HubStore, Saved
from deployd.model.desired import Changes, Desired, Event
from deployd.model.revision import Revision
from deployd.planning.hooks import abandoned

NOTHING = Changes()
HUB = "hub"
RESTORED = "hub restored"

Decide = Callable[[Desired], Changes]


class Ledger:
    """``wall`` gives seconds since 1970, for people; ``changed`` are called after every change.

    Note [Decide under the lock]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Saving takes a while, and commands come meanwhile. Each change is decided by a function that sees the state as it
    then is, one after the other, so two deploys at once cannot both take the same number.
    """

    _log = Logger()

    def __init__(self, store: HubStore, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._lock = DeferredLock()
        self._numbers = Numbers(Saved("", 0, Desired()))
        self._closed = False
        self.desired = Desired()
        self.changed: list[Callable[[], None]] = []

    @property
    def epoch(self) -> str:
        return self._numbers.epoch

    @property
    def closed(self) -> bool:
        """Whether it refuses everything, as the hub is stopping."""
        return self._closed

    async def open(self) -> None:
        """Read what is saved; raise Refused."""
        why = "its database is older than it was at its last start"
        saved = await self._store.open(self.event(RESTORED, HUB, detail=why))
        self._numbers = Numbers(saved)
        self.desired = saved.desired
        if saved.restored:
            self._log.warn("the hub was restored from a backup ({why}): a new epoch begins", why=why)
            await self.change(lambda desired: Changes(releases=abandoned(desired)))

    def number(self, owner: str = "") -> Revision:
        """A revision that was never given out before, for a drone's owner."""
        return self._numbers.next(owner)

    async def check(self, revision: Revision, owner: str, name: str) -> None:
        """Begin a new epoch if the drone has a revision of a lost state (Note [A restored store is found out])."""
        why = f"{name} has been told what this hub does not know"

        def decide(desired: Desired) -> Changes:
            if not self._numbers.is_foreign(revision, owner):
                return NOTHING
            self._log.warn("the hub was restored from a backup ({why}): a new epoch begins", why=why)
            return Changes(releases=abandoned(desired), events=(self.event(RESTORED, HUB, detail=why),))

        if self._numbers.is_foreign(revision, owner):
            await self.change(decide, epoch=uuid4().hex)

    async def events(self, newest: int, app: str, above: int, first: int) -> list[Event]:
        """What the store has (HubStore.events); raise Refused."""
        await self._lock.acquire()
        try:
            if self._closed:
                raise Refused("the hub is stopping")
            return await self._store.events(newest, app, above, first)
        finally:
            self._lock.release()

    def event(self, what: str, who: str, app: str = "", detail: str = "") -> Event:
        return Event(self._wall(), what, who, app, detail[:1000])

    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall()

    async def change(self, decide: Decide, epoch: str = "") -> None:
        """Make the changes that ``decide`` returns; nothing is changed when it raises, or saving does (Refused).

        ``epoch``: one that begins with them, if there are any.
        """
        await self._lock.acquire()
        try:
            if self._closed:
                raise Refused("the hub is stopping")
            changes = decide(self.desired)
            if changes == NOTHING:
                return
            self._numbers.advance(await self._store.save(changes, epoch), epoch)
            self.desired = self.desired.after(changes)
            for event in changes.events:
                self._log.info(
                    "{what} {app} {detail} ({who})", what=event.what, app=event.app, detail=event.detail, who=event.who
                )
        finally:
            self._lock.release()
        for changed in self.changed:
            changed()

    async def close(self) -> None:
        """Let what is being saved end, then refuse everything."""
        await self._lock.acquire()
        try:
            if not self._closed:
                self._closed = True
                await self._store.close()
        finally:
            self._lock.release()
