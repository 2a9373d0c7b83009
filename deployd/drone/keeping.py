"""The drone's link to its keeper: whatever the keeper holds, and who wants to hear how it ends.

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
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from deployd.drone.keeper_process import NoKeeper
from deployd.drone.problem import Outage
from deployd.errors import DeploydError, Refused, Unreachable
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.processes.exits import Exit
from deployd.wire.keeping import (
    VERSION,
    Exited,
    Forget,
    Held,
    Launch,
    ListHeld,
    Meet,
    Quit,
    Start,
    StartAttached,
    Unlisten,
)

HEARTBEAT, SILENCE = 15.0, 60.0
STARTS = 8
"""So many starts are under way at once; each takes the keeper a millisecond or two."""
START_LIMIT, CERTAIN = 10.0, 9.0
"""Seconds for the answer to a start, and those after which the keeper does not begin with it any more."""
IN_FLIGHT = 16
FIRST_PAUSE, LAST_PAUSE = 0.01, 5.0
STARTING = 10.0
"""Seconds that a new keeper has to listen."""
STEADY = 5.0
GOODBYE = 1.0

Hear = Callable[[Exit], None]


class Door(Protocol):
    """Where the keeper is found (deployd.drone.keeper_process)."""

    def connect(self, peer: Peer) -> Deferred[Peer]: ...
    def launch(self) -> None: ...
    @property
    def starting(self) -> bool: ...


class Keeping:
    """A ``deployd.drone.means.Keeper``. ``held()`` and ``take_over`` know all once ``begin``'s Deferred has fired."""

    _log = Logger()

    def __init__(self, reactor: Any, door: Door, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._door = door
        self._monotonic = monotonic
        self._peer: Peer | None = None
        self._held: dict[str, Held] = {}
        self._hearing: dict[str, Hear] = {}
        self._unwanted: set[str] = set()
        self._owed: dict[tuple[type[Command], str], None] = {}
        self._in_flight = 0
        self._turns = DeferredSemaphore(STARTS)
        self._listed: list[Deferred[None]] = []
        self._link: Deferred[None] | None = None
        self._left = False
        self.pid = 0
        """The keeper's, as it was met last."""

    @property
    def connected(self) -> bool:
        return self._peer is not None

    def begin(self) -> Deferred[None]:
        """Find or start the keeper, and stay in touch with it; fires once all that it holds is known."""
        self._link = Deferred.fromCoroutine(self._stay())
        self._link.addErrback(self._failed)
        return self._next_list()

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

    # The end.

    async def quit(self) -> None:
        """Nothing should run on: the keeper ends too, unless something does."""
        if self._peer is None and self._link is not None:
            # A new one may have been started a moment ago.
            with suppress(TimeoutError):
                await self._next_list().addTimeout(GOODBYE, self._reactor)
        if self._peer is not None:
            try:
                await self._peer.call(Quit)
            except DeploydError as error:
                self._log.warn("the keeper stays: {error}", error=error)
        await self.leave()

    async def leave(self) -> None:
        """Hang up; the keeper and what it holds run on."""
        self._left = True
        if self._link is not None:
            self._link.cancel()
            await self._link

    # The link.

    async def _stay(self) -> None:
        pause = FIRST_PAUSE
        # What is cancelled while it connects fails with some other error.
        while not self._left:
            begun = self._reactor.seconds()
            try:
                peer = await self._connected()
                await self._meet(peer)
            except (DeploydError, OSError) as error:
                self._log.warn("the keeper cannot be reached: {error}", error=error)
                await deferLater(self._reactor, pause)
                pause = min(LAST_PAUSE, pause * 3)
                continue
            try:
                await peer.when_closed()
            except CancelledError:
                self._peer = None
                await self._hang_up(peer)
                raise
            self._peer = None
            self._log.warn("the link to the keeper is lost")
            # One that breaks again and again (two drones in one state directory) is made ever more rarely.
            pause = FIRST_PAUSE if self._reactor.seconds() - begun > STEADY else min(LAST_PAUSE, pause * 3)
            await deferLater(self._reactor, pause)

    async def _hang_up(self, peer: Peer) -> None:
        peer.hang_up()
        try:
            await peer.when_closed().addTimeout(GOODBYE, self._reactor)
        except TimeoutError:
            peer.drop("it does not read")

    async def _connected(self) -> Peer:
        """A connection to a keeper, which is started where there is none. Raise DeploydError or OSError."""
        pause = FIRST_PAUSE
        deadline = self._reactor.seconds() + STARTING
        launched = False
        while True:
            peer = Peer(self._reactor)
            try:
                return await self._door.connect(peer)
            except NoKeeper:
                self._lose_all()
                if launched and not self._door.starting:
                    raise Unreachable("a new keeper has ended at once") from None
                if self._reactor.seconds() >= deadline:
                    raise Unreachable(f"a new keeper does not listen after {STARTING:.0f} s") from None
                self._door.launch()
                launched = True
            except (DeploydError, CancelledError):
                raise
            except Exception as error:  # whatever connecting fails with
                raise Unreachable(str(error)) from None
            await deferLater(self._reactor, pause)
            pause = min(0.25, pause * 1.5)

    async def _meet(self, peer: Peer) -> None:
        """Learn what it holds; what happens meanwhile is told on the same link, in order."""
        peer.established(_News(self), HEARTBEAT, SILENCE)
        try:
            answer = await peer.call(Meet, version=VERSION)
            known = await self._list(peer)
        except BaseException:
            peer.drop("it does not say what it holds")
            raise
        self.pid = answer["pid"]
        for id in [id for id, held in self._held.items() if not held.ended and id not in known]:
            self._lose(id)
        self._peer = peer
        listed, self._listed = self._listed, []
        for waiter in listed:
            waiter.callback(None)
        self._pay()

    async def _list(self, peer: Peer) -> set[str]:
        known: set[str] = set()
        after = ""
        while True:
            answer = await peer.call(ListHeld, after=after)
            for held in answer["held"]:
                known.add(held.id)
                self.heard(held)
            after = answer["next"]
            if not after:
                return known

    def _next_list(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._waits_no_more)
        self._listed.append(waiter)
        return waiter

    def _waits_no_more(self, waiter: Deferred[None]) -> None:
        if waiter in self._listed:
            self._listed.remove(waiter)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the link to the keeper", failure=failure)

    # Ends.

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

    def _lose_all(self) -> None:
        for id in [id for id, held in self._held.items() if not held.ended]:
            self._lose(id)
        # Those that had ended are not held by anybody any more: nothing needs to be forgotten.
        self._owed.clear()

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
        peer = self._peer
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
            await self._next_list().addTimeout(START_LIMIT, self._reactor)
            held = self._held.get(id)
            if held is not None and (before is None or not _same(before, held)):
                return held
        raise Outage(f"the drone's keeper: {error}")

    def _owe(self, command: type[Command], id: str) -> None:
        self._owed[(command, id)] = None
        self._pay()

    def _pay(self) -> None:
        while self._owed and self._in_flight < IN_FLIGHT and self._peer is not None and not self._peer.is_closed:
            command, id = next(iter(self._owed))
            del self._owed[(command, id)]
            self._in_flight += 1
            self._peer.call(command, id=id).addErrback(partial(self._not_paid, command, id)).addBoth(self._paid)

    def _not_paid(self, command: type[Command], id: str, failure: Failure) -> None:
        if failure.check(Unreachable):
            self._owed.setdefault((command, id), None)
        else:
            self._log.warn("the keeper: {error}", error=failure.value)

    def _paid(self, _: Any) -> None:
        self._in_flight -= 1
        self._pay()


class _News(Conversation):
    def __init__(self, keeping: Keeping) -> None:
        super().__init__()
        self._keeping = keeping

    @responder(Exited)
    def exited(self, held: Held) -> dict[str, Any]:
        self._keeping.heard(held)
        return {}


def _same(one: Held, other: Held) -> bool:
    return (one.pid, one.created, one.started) == (other.pid, other.created, other.started)
