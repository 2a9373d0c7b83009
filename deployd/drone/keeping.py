"""What the drone's keeper holds, as the drone knows it, and who wants to hear how it ends.

Note [When the keeper is gone]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A link that breaks says little: the drone connects again, and the list that it is given says what has ended meanwhile.
Only when nobody listens any more has the keeper died. Then nobody will ever know how its processes end, and nobody
reaps them or reads what they print: each is told as lost, so that the drone sweeps it and starts it anew, with a new
keeper. Any keeper of this conversation will do, an older version's too: what it does not know it answers with
InternalError, and a drone's upgrade ends no app.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError
from twisted.logger import Logger
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from deployd.drone.keeper_link import GOODBYE, Door, KeeperLink
from deployd.drone.problem import Outage
from deployd.errors import DeploydError, InternalError, Refused, Unreachable
from deployd.net.peer import Peer
from deployd.processes.exits import Exit
from deployd.wire.keeping import (
    MAX_REMARK,
    Forget,
    Held,
    Launch,
    Quit,
    Remark,
    Start,
    StartAttached,
    Unlisten,
)

STARTS = 8
"""So many starts are under way at once; each takes the keeper a millisecond or two."""
START_LIMIT, CERTAIN = 10.0, 9.0
"""Seconds for the answer to a start, and those after which the keeper does not begin with it any more."""
IN_FLIGHT = 16
REMARKS = 256
"""So many wait at once, the newest ones."""

Hear = Callable[[Exit], None]


class Keeping:
    """A ``deployd.drone.means.Keeper``. ``held()`` and ``take_over`` know all once ``begin``'s Deferred has fired."""

    _log = Logger()

    def __init__(self, reactor: Any, door: Door, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._link = KeeperLink(reactor, door, self)
        self._held: dict[str, Held] = {}
        self._hearing: dict[str, Hear] = {}
        self._unwanted: set[str] = set()
        self._owed: dict[tuple[type[Command], str], None] = {}
        self._remarks: deque[tuple[str, str]] = deque(maxlen=REMARKS)
        self._in_flight = 0
        self._turns = DeferredSemaphore(STARTS)

    @property
    def pid(self) -> int:
        """The keeper's, as it was met last."""
        return self._link.pid

    def begin(self) -> Deferred[None]:
        """Find or start the keeper, and stay in touch with it; fires once all that it holds is known."""
        self._link.begin()
        return self._link.next_list()

    # What instances and tasks want (deployd.drone.means.Keeper).

    def start(self, launch: Launch, exited: Hear) -> Deferred[Held]:
        return Deferred.fromCoroutine(self._start(Start, launch, exited, {}))

    def attach(self, launch: Launch, descriptors: tuple[int, int, int], exited: Hear) -> Deferred[Held]:
        """``descriptors`` must stay open until it has fired."""
        names = ("stdin", "stdout", "stderr")
        return Deferred.fromCoroutine(
            self._start(StartAttached, launch, exited, dict(zip(names, descriptors, strict=True)))
        )

    def take_over(self, id: str, exited: Hear) -> Held | None:
        held = self._held.get(id)
        if held is not None and not held.ended:
            self._hearing[id] = exited
            self._unwanted.discard(id)
        return held

    def held(self) -> Iterable[Held]:
        """All that is not forgotten, living or not."""
        return tuple(self._held.values())

    def forget(self, id: str) -> None:
        self._hearing.pop(id, None)
        held = self._held.get(id)
        if held is None:
            return
        if held.ended:
            del self._held[id]
            self._owe(Forget, id)
        else:
            self._unwanted.add(id)

    def unlisten(self, id: str) -> None:
        self._owe(Unlisten, id)

    def remark(self, log: str, words: str) -> None:
        self._remarks.append((log, " ".join(words.split())[:MAX_REMARK]))
        self._pay()

    # The end.

    async def quit(self) -> None:
        """Nothing should run on: the keeper ends too, unless something does."""
        if self._link.begun and self._link.peer is None:
            # A new one may have been started a moment ago.
            with suppress(TimeoutError):
                await self._link.next_list().addTimeout(GOODBYE, self._reactor)
        if self._link.peer is not None:
            try:
                await self._link.peer.call(Quit)
            except DeploydError as error:
                self._log.warn("the keeper stays: {error}", error=error)
        await self.leave()

    async def leave(self) -> None:
        """Hang up; the keeper and what it holds run on."""
        await self._link.end()

    # What its link tells.

    def heard(self, held: Held) -> None:
        """The keeper holds it, as it says now."""
        before = self._held.get(held.id)
        if before is not None and not before.ended and not _same(before, held):
            self._lose(held.id)
        self._held[held.id] = held
        if not held.ended:
            return
        hear = self._hearing.pop(held.id, None)
        if held.id in self._unwanted:
            self._unwanted.discard(held.id)
            self.forget(held.id)
        elif hear is not None:
            self._tell(hear, Exit(held.code, held.signal))

    def listed(self, ids: Collection[str]) -> None:
        """What it does not hold any more is lost."""
        self._lose_all_but(ids)
        self._pay()

    def died(self) -> None:
        self._lose_all_but(())
        # Those that had ended are not held by anybody any more: nothing needs to be forgotten.
        self._owed.clear()

    def _lose_all_but(self, ids: Collection[str]) -> None:
        for id in [id for id, held in self._held.items() if not held.ended and id not in ids]:
            self._lose(id)

    def _lose(self, id: str) -> None:
        """The keeper does not hold it any more, and did not say how it has ended."""
        del self._held[id]
        self._unwanted.discard(id)
        hear = self._hearing.pop(id, None)
        if hear is not None:
            self._tell(hear, Exit(None, None))

    def _tell(self, hear: Hear, how: Exit) -> None:
        try:
            hear(how)
        except Exception:  # somebody's mistake, for which no other may miss an end
            self._log.failure("while telling of an end")

    # Orders.

    async def _start(self, command: type[Command], launch: Launch, exited: Hear, more: dict[str, int]) -> Held:
        await self._turns.acquire()
        try:
            held = await self._started(command, launch, more)
        finally:
            self._turns.release()
        if held.ended:
            self._reactor.callLater(0, exited, Exit(held.code, held.signal))
        else:
            self._hearing[held.id] = exited
        return held

    async def _started(self, command: type[Command], launch: Launch, more: dict[str, int]) -> Held:
        peer = self._link.peer
        if peer is None:
            raise Outage("the drone's keeper is not there for the moment")
        before = self._held.get(launch.id)
        for owed in (Forget, Unlisten) if launch.listen else (Forget,):
            self._owed.pop((owed, launch.id), None)
        self._unwanted.discard(launch.id)
        launch = evolve(launch, by=self._monotonic() + CERTAIN)
        try:
            held: Held = (await peer.call(command, START_LIMIT, launch=launch, **more))["held"]
        except Unreachable as error:
            return await self._found(peer, launch.id, before, error)
        except Refused:
            if self._monotonic() > launch.by:
                raise Outage("the drone's keeper answers too late") from None
            raise
        self._held[held.id] = held
        return held

    async def _found(self, peer: Peer, id: str, before: Held | None, error: Unreachable) -> Held:
        """It may have been started all the same: the next list says so."""
        if not peer.is_closed:
            peer.drop("it does not answer")
        with suppress(TimeoutError):
            await self._link.next_list().addTimeout(START_LIMIT, self._reactor)
            held = self._held.get(id)
            if held is not None and (before is None or not _same(before, held)):
                return held
        raise Outage(f"the drone's keeper: {error}")

    def _owe(self, command: type[Command], id: str) -> None:
        self._owed[(command, id)] = None
        self._pay()

    def _pay(self) -> None:
        peer = self._link.peer
        while self._in_flight < IN_FLIGHT and peer is not None and not peer.is_closed:
            if self._remarks:
                # First, as they say why what follows happens.
                log, words = self._remarks.popleft()
                paying = peer.call(Remark, log=log, words=words).addErrback(self._not_remarked)
            elif self._owed:
                command, id = next(iter(self._owed))
                del self._owed[(command, id)]
                paying = peer.call(command, id=id).addErrback(partial(self._not_paid, command, id))
            else:
                return
            self._in_flight += 1
            paying.addBoth(self._paid)

    def _not_paid(self, command: type[Command], id: str, failure: Failure) -> None:
        if failure.check(Unreachable):
            self._owed.setdefault((command, id), None)
        else:
            self._log.warn("the keeper: {error}", error=failure.value)

    def _not_remarked(self, failure: Failure) -> None:
        # An older version's keeper does not know how.
        if not failure.check(InternalError):
            self._log.warn("a remark is not in its log: {error}", error=failure.value)

    def _paid(self, _: Any) -> None:
        self._in_flight -= 1
        self._pay()


def _same(one: Held, other: Held) -> bool:
    return (one.pid, one.created, one.started) == (other.pid, other.created, other.started)
