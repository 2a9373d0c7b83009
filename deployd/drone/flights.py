"""Work that many wait for and that is done once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

Say = Callable[[str], None]
Work = Callable[[Say], Coroutine[Any, Any, None]]

_Key = TypeVar("_Key", bound=Hashable)


@define(eq=False)
class _Flight:
    waiting: dict[Deferred[None], Say] = field(factory=dict)
    said: str = ""
    doing: Deferred[Any] | None = None

    def say(self, words: str) -> None:
        self.said = words
        for say in list(self.waiting.values()):
            say(words)

    def leave(self, waiter: Deferred[None]) -> None:
        self.waiting.pop(waiter, None)


class Flights(Generic[_Key]):
    """One piece of work for each key at a time; it goes on when nobody waits for it any more."""

    _log = Logger()

    def __init__(self) -> None:
        self._all: dict[_Key, _Flight] = {}

    def join(self, key: _Key, work: Work, say: Say) -> Deferred[None]:
        """Wait for the work of ``key``, which is begun if it is not under way; ``say`` hears how far that is.

        Cancelling only stops waiting.
        """
        flight = self._all.get(key)
        begins = flight is None
        if flight is None:
            flight = self._all[key] = _Flight()
        waiter: Deferred[None] = Deferred(flight.leave)
        flight.waiting[waiter] = say
        if begins:
            flight.doing = Deferred.fromCoroutine(work(flight.say))
            flight.doing.addBoth(self._landed, key, flight)
        elif flight.said:
            say(flight.said)
        return waiter

    def under_way(self) -> frozenset[_Key]:
        return frozenset(self._all)

    def end(self, key: _Key) -> Deferred[Any]:
        """Break off the work of ``key``, if it is under way; fires once it has ended."""
        return DeferredList([self._broken_off(self._all[key])] if key in self._all else [])

    def end_all(self) -> Deferred[Any]:
        return DeferredList([self._broken_off(flight) for flight in list(self._all.values())])

    def _broken_off(self, flight: _Flight) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        assert flight.doing is not None
        # What it ended with has been said to those who wait.
        flight.doing.addBoth(lambda _: ended.callback(None))
        flight.doing.cancel()
        return ended

    def _landed(self, result: Any, key: _Key, flight: _Flight) -> None:
        del self._all[key]
        if not flight.waiting and isinstance(result, Failure):
            self._log.info("nobody waits for {key}, which failed: {error}", key=key, error=result.value)
        while flight.waiting:
            flight.waiting.popitem()[0].callback(result)
