"""The drone's connection to its keeper: found, started where there is none, and made anew when it breaks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.keeper_process import NoKeeper
from deployd.errors import DeploydError, Unreachable
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.wire.keeping import VERSION, Exited, Held, ListHeld, Meet

HEARTBEAT, SILENCE = 15.0, 60.0
FIRST_PAUSE, LAST_PAUSE = 0.01, 5.0
STARTING = 10.0
"""Seconds that a new keeper has to listen."""
STEADY = 5.0
GOODBYE = 1.0


class Door(Protocol):
    """Where the keeper is found (deployd.drone.keeper_process)."""

    def connect(self, peer: Peer) -> Deferred[Peer]: ...
    def launch(self) -> None: ...
    @property
    def starting(self) -> bool: ...


class Hears(Protocol):
    """What is told of the keeper."""

    def heard(self, held: Held) -> None:
        """It holds this, as it says now."""

    def listed(self, ids: Collection[str]) -> None:
        """It holds these, all heard of, and nothing else."""

    def died(self) -> None:
        """There is none any more."""


class KeeperLink:
    """``peer`` is there once all that the keeper holds is known; ``pid`` is the keeper's, as it was met last."""

    _log = Logger()

    def __init__(self, reactor: Any, door: Door, hears: Hears) -> None:
        self.peer: Peer | None = None
        self.pid = 0
        self._reactor = reactor
        self._door = door
        self._hears = hears
        self._listed: list[Deferred[None]] = []
        self._staying: Deferred[None] | None = None
        self._left = False

    def begin(self) -> None:
        self._staying = Deferred.fromCoroutine(self._stay())
        self._staying.addErrback(self._failed)

    @property
    def begun(self) -> bool:
        return self._staying is not None

    def next_list(self) -> Deferred[None]:
        """Fires when the keeper has said once more what it holds."""
        waiter: Deferred[None] = Deferred(self._waits_no_more)
        self._listed.append(waiter)
        return waiter

    async def end(self) -> None:
        """Hang up for good; the keeper and what it holds run on."""
        self._left = True
        if self._staying is not None:
            self._staying.cancel()
            await self._staying

    # How it goes on.

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
                if self._left:
                    # By one who was told of the list: nothing was being waited for then, to be cancelled.
                    raise CancelledError()
                await peer.when_closed()
            except CancelledError:
                self.peer = None
                await self._hang_up(peer)
                raise
            self.peer = None
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
                self._hears.died()
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
        peer.established(_News(self._hears), HEARTBEAT, SILENCE)
        try:
            answer = await peer.call(Meet, version=VERSION)
            known = await self._list(peer)
        except BaseException:
            peer.drop("it does not say what it holds")
            raise
        self.pid = answer["pid"]
        self.peer = peer
        self._hears.listed(known)
        listed, self._listed = self._listed, []
        for waiter in listed:
            waiter.callback(None)

    async def _list(self, peer: Peer) -> set[str]:
        known: set[str] = set()
        after = ""
        while True:
            answer = await peer.call(ListHeld, after=after)
            for held in answer["held"]:
                known.add(held.id)
                self._hears.heard(held)
            after = answer["next"]
            if not after:
                return known

    def _waits_no_more(self, waiter: Deferred[None]) -> None:
        if waiter in self._listed:
            self._listed.remove(waiter)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the link to the keeper", failure=failure)


class _News(Conversation):
    def __init__(self, hears: Hears) -> None:
        super().__init__()
        self._hears = hears

    @responder(Exited)
    def exited(self, held: Held) -> dict[str, Any]:
        self._hears.heard(held)
        return {}
