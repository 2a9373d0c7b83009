"""The revisions that one life of the hub gives out, and those that it cannot have given.

Note [A restored store is found out]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A hub whose state was put back from a backup would go on in the epoch of the lost state: its drones would take its
numbers for old ones and not listen, or, once the numbers have caught up, end what the backup does not know. But they
report the newest revision that they have. Each life of a hub begins above everything that earlier lives can have given
out, so what a drone reports is from before this life or was given to it in this life. Anything else was given by a
state that is lost, and then a new epoch begins, in which drones end nothing without being told.
"""

from __future__ import annotations

from deployd.interfaces import Saved
from deployd.model.revision import Revision

_RESERVED = 24
"""Bits of a number that are counted in memory only, the rest being the store's counter. A drone's journal takes numbers
below 2**62: enough for 2**30 saves."""


class Numbers:
    """``saved`` is the store as this life of the hub found it."""

    def __init__(self, saved: Saved) -> None:
        self.epoch = saved.epoch
        self._first = self._last = saved.counter << _RESERVED
        self._given: dict[str, int] = {}

    def next(self, owner: str) -> Revision:
        """A revision that was never given out before, for a drone's owner ("": nobody's)."""
        self._last += 1
        self._given[owner] = self._last
        return Revision(self.epoch, self._last)

    def advance(self, counter: int, epoch: str) -> None:
        """Something was saved; "" goes on with the epoch."""
        self._last = max(self._last, counter << _RESERVED)
        self.epoch = epoch or self.epoch

    def is_foreign(self, revision: Revision, owner: str) -> bool:
        """Whether no hub on this store can have given ``revision`` to ``owner``."""
        return revision.epoch == self.epoch and revision.number > self._given.get(owner, self._first)
