"""The keeper's side of its conversation with the drone."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import Refused
from deployd.keeper.service import Keeper
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import CONNECTION_DONE, Peer
from deployd.wire.keeping import (
    VERSION,
    Exited,
    Forget,
    Held,
    Launch,
    ListHeld,
    Meet,
    Quit,
    Remark,
    Start,
    StartAttached,
    Unlisten,
)

MAX_CONNECTIONS = 8
HEARTBEAT, SILENCE = 15.0, 60.0
PAGE = 100
IN_FLIGHT = 16


class Sessions(Factory):
    """The connections; the one that has met the keeper last is the drone."""

    noisy = False

    def __init__(self, reactor: Any, keeper: Keeper) -> None:
        self._reactor = reactor
        self.keeper = keeper
        self.open: set[KeeperPeer] = set()
        self._drone: Session | None = None
        keeper.tell = self._tell

    def buildProtocol(self, addr: IAddress | None) -> KeeperPeer | None:
        return KeeperPeer(self._reactor, self) if len(self.open) < MAX_CONNECTIONS else None

    def met(self, session: Session) -> None:
        before, self._drone = self._drone, session
        if before is not None and before is not session:
            before.peer.drop("another drone has come")
        self.keeper.visited(True)

    def left(self, session: Session) -> None:
        if self._drone is session:
            self._drone = None
            self.keeper.visited(False)

    def _tell(self, held: Held) -> None:
        if self._drone is not None:
            self._drone.tell(held)


class KeeperPeer(Peer):
    """One connection. Descriptors that came with it belong to no process but the one that they are for."""

    def __init__(self, reactor: Any, sessions: Sessions) -> None:
        super().__init__(reactor)
        self._sessions = sessions

    def connectionMade(self) -> None:
        super().connectionMade()
        self._sessions.open.add(self)
        self.gate_reading()
        self.established(Session(self, self._sessions), HEARTBEAT, SILENCE)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        super().fileDescriptorReceived(descriptor)

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        self._sessions.open.discard(self)
        super().connectionLost(reason)
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


class Session(Conversation):
    """One drone's commands, and what it is told of ends: IN_FLIGHT at once, all in their order."""

    _log = Logger()

    def __init__(self, peer: Peer, sessions: Sessions) -> None:
        super().__init__()
        self.peer = peer
        self._sessions = sessions
        self._keeper = sessions.keeper
        self._met = False
        self._news: dict[str, Held] = {}
        self._in_flight = 0
        # AMP looks for the descriptors of a command where it has found the responder.
        self._getDescriptor = peer._getDescriptor

    def tell(self, held: Held) -> None:
        """At most one piece of news of each id waits; ids are bounded by the keeper."""
        self._news[held.id] = held
        self._go_on()

    def closed(self) -> None:
        self._news.clear()
        self._sessions.left(self)

    def _go_on(self) -> None:
        while self._news and self._in_flight < IN_FLIGHT and not self.peer.is_closed:
            held = self._news.pop(next(iter(self._news)))
            self._in_flight += 1
            self.peer.call(Exited, SILENCE, held=held).addErrback(self._unheard).addBoth(self._heard)

    def _unheard(self, failure: Failure) -> None:
        if not self.peer.is_closed:
            self._log.warn("the drone did not take the news of an end: {error}", error=failure.value)

    def _heard(self, _: Any) -> None:
        self._in_flight -= 1
        self._go_on()

    def _after_meeting(self) -> Keeper:
        if not self._met:
            raise Refused("Meet comes first")
        return self._keeper

    @responder(Meet)
    def meet(self, version: int) -> dict[str, Any]:
        self._met = True
        self._sessions.met(self)
        return {"version": VERSION, "pid": os.getpid()}

    @responder(ListHeld)
    def list_held(self, after: str) -> dict[str, Any]:
        held, following = self._after_meeting().held(after, PAGE)
        return {"held": tuple(held), "next": following}

    @responder(Start)
    def start(self, launch: Launch) -> dict[str, Any]:
        return {"held": self._after_meeting().start(launch)}

    @responder(StartAttached)
    def start_attached(self, launch: Launch, stdin: int, stdout: int, stderr: int) -> dict[str, Any]:
        try:
            return {"held": self._after_meeting().start(launch, (stdin, stdout, stderr))}
        finally:
            for fd in (stdin, stdout, stderr):
                os.close(fd)

    @responder(Forget)
    def forget(self, id: str) -> dict[str, Any]:
        self._after_meeting().forget(id)
        return {}

    @responder(Unlisten)
    def unlisten(self, id: str) -> dict[str, Any]:
        self._after_meeting().unlisten(id)
        return {}

    @responder(Remark)
    def remark(self, log: str, words: str) -> dict[str, Any]:
        self._after_meeting().remark(log, words)
        return {}

    @responder(Quit)
    def quit(self) -> dict[str, Any]:
        self._after_meeting().quit()
        return {}
