"""A hub store that a test can look into; it survives ``close`` and ``open``, as a disk would."""

from __future__ import annotations

from uuid import uuid4

from attrs import evolve
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
        self._told = 0

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
        self._events = [*self._events, *map(self._numbered, changes.events)][-MAX_EVENTS:]
        return succeed(self._counter)

    def events(self, newest: int, app: str = "", above: int = 0, first: int = MAX_EVENTS) -> Deferred[list[Event]]:
        found = [event for event in self._events if app in ("", event.app) and event.number > above]
        return succeed(found[-newest:][:first] if newest > 0 else [])

    def close(self) -> Deferred[None]:
        return succeed(None)

    def _numbered(self, event: Event) -> Event:
        self._told += 1
        return evolve(event, number=self._told)
