"""What the hub wants, and the one way to change it: saved first, then true."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from deployd.errors import Refused
from deployd.interfaces import HubStore
from deployd.model.desired import Changes, Desired, Event
from deployd.model.revision import Revision

NOTHING = Changes()
_RESERVED = 32

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
        self._numbers = Revision("", 0)
        self._closed = False
        self.desired = Desired()
        self.changed: list[Callable[[], None]] = []

    @property
    def epoch(self) -> str:
        return self._numbers.epoch

    async def open(self) -> None:
        """Read what is saved; raise Refused."""
        saved = await self._store.open()
        # Numbers go on above all that an earlier run can have given out, without a save for each.
        self._numbers = Revision(saved.epoch, saved.opened << _RESERVED)
        self.desired = saved.desired

    def number(self) -> Revision:
        """A revision that was never given out before."""
        self._numbers = self._numbers.next()
        return self._numbers

    def event(self, what: str, who: str, app: str = "", detail: str = "") -> Event:
        return Event(self._wall(), what, who, app, detail[:1000])

    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall()

    async def change(self, decide: Decide) -> None:
        """Make the changes that ``decide`` returns; nothing is changed when it raises, or saving does (Refused)."""
        await self._lock.acquire()
        try:
            if self._closed:
                raise Refused("the hub is stopping")
            changes = decide(self.desired)
            if changes == NOTHING:
                return
            await self._store.save(changes)
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
