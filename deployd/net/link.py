"""A connection that is kept up: dials again with growing, jittered delays, and attaches anew each time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.protocols.amp import Command
from zope.interface import implementer

from deployd.errors import DeploydError, Unreachable
from deployd.net.choices import Choices
from deployd.net.client import ClientPeer, Dial, reach
from deployd.net.conversation import Conversation
from deployd.net.peer import CALL_TIMEOUT, CONNECTION_DONE, Peer

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0

RETRY = backoffPolicy(FIRST_DELAY, LONGEST_DELAY, 1.5, jitter=lambda: random.uniform(0, 0.2))


@implementer(IStreamClientEndpoint)
@frozen
class _SessionEndpoint:
    """An endpoint that counts as connected only once ``establish`` is through.

    ClientService's own ``prepareConnection`` trips over a connection that is lost while it runs (its machine has no
    such transition), and it keeps dial errors to itself; so the handshake happens below it.
    """

    _dial: Dial
    _establish: Callable[[ClientPeer], Awaitable[None]]
    _failed: Callable[[DeploydError], object]

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    def __repr__(self) -> str:
        return self._dial.shown

    async def _connect(self, session_factory: Any) -> Any:
        try:
            peer = await reach(self._dial, self._establish)
        except DeploydError as error:
            self._failed(error)
            raise
        session = session_factory.buildProtocol(peer.transport.getPeer())
        session.makeConnection(peer.transport)
        peer.when_closed().addCallback(lambda _: session.connectionLost(CONNECTION_DONE))
        return session


class Link(ClientService):
    """Keeps a session with a server up.

    ``attach(peer)`` runs after each handshake and sends the whole state again; the session counts as up once it is
    done. ``failed(error)`` hears of each attempt that did not get there, with a sentence.
    """

    _log = Logger()

    def __init__(
        self,
        dial: Dial,
        attach: Callable[[ClientPeer], Awaitable[None]],
        conversation: Callable[[Peer], Conversation] | None = None,
        failed: Callable[[DeploydError], object] | None = None,
        retry: Callable[[int], float] = RETRY,
    ) -> None:
        self._dial = dial
        self._attach = attach
        self._conversation = conversation or (lambda _: Conversation())
        self.peer: ClientPeer | None = None
        super().__init__(
            _SessionEndpoint(dial, self._establish, failed or self._log_failure),
            Factory.forProtocol(Protocol),
            retryPolicy=retry,
            clock=dial.clock,
        )

    def call(self, command: type[Command], timeout: float = CALL_TIMEOUT, **arguments: Any) -> Deferred[Any]:
        """``Peer.call`` on the session that is up; fails with Unreachable when none is."""
        if self.peer is None:
            return fail(Unreachable(f"not connected to {self._dial.shown}"))
        return self.peer.call(command, timeout, **arguments)

    async def _establish(self, peer: ClientPeer) -> None:
        await peer.shake_hands(self._dial, self._conversation)
        # From here on both sides talk: attaching may already be answered with calls.
        await self._attach(peer)
        if not self.running:
            raise CancelledError
        self.peer = peer
        peer.when_closed().addCallback(lambda _: self._lost(peer))

    def _lost(self, peer: ClientPeer) -> None:
        if self.peer is peer:
            self.peer = None
            if isinstance(self._dial.endpoint, Choices):
                self._dial.endpoint.lost(self._dial.clock.seconds())
            self._log.info("lost {shown}", shown=peer.shown)

    def _log_failure(self, error: DeploydError) -> None:
        self._log.warn("{error}", error=error)
