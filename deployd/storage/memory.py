"""A hub store that a test can look into; it survives ``close`` and ``open``, as a disk would."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet.defer import Deferred, fail, succeed

from deployd.errors import Refused
from deployd.interfaces import MAX_EVENTS, OPENED, SAVED, Saved
from deployd.model.desired import Changes, Desired, Event


class MemoryStore:
    """``full`` makes every save fail, as a full disk does."""

    def __init__(self) -> None:
        self.desired = Desired()
        self.full = False
        self.saves = 0
        self._epoch = uuid4().hex
        self._counter = 0
        self._events: list[Event] = []

    def open(self, restored: Event) -> Deferred[Saved]:
        self._counter += OPENED
        return succeed(Saved(self._epoch, self._counter, self.desired))

    def save(self, changes: Changes, epoch: str = "") -> Deferred[int]:
        if self.full:
            return fail(Refused("cannot save the hub's state: the disk is full"))
        self.saves += 1
        self._counter += SAVED
        self._epoch = epoch or self._epoch
        self.desired = self.desired.after(changes)
        self._events = [*self._events, *changes.events][-MAX_EVENTS:]
        return succeed(self._counter)

    def events(self, newest: int) -> Deferred[list[Event]]:
        return succeed(self._events[-newest:] if newest > 0 else [])

    def close(self) -> Deferred[None]:
        return succeed(None)
