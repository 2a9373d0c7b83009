"""The listening end: handshake first, within a deadline, then the conversation that the client asked for."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import Malformed, PermissionRefused, SecretRefused
from deployd.net.conversation import Conversation, responder
from deployd.net.handshake import NONCE, Transcript, agreed_version, check_client, check_owner, server_facts
from deployd.net.peer import CONNECTION_DONE, Peer
from deployd.net.read_gate import ReadGate
from deployd.net.secret import Secret
from deployd.net.turns import Turns
from deployd.wire.handshake import Hello, Prove

if TYPE_CHECKING:
    from deployd.net.identity import Identity

HANDSHAKE_DEADLINE = 10.0
MAX_CONNECTIONS = 10_000
# One address alone does not shut out the others; many programs may share it.
CONNECTIONS_PER_ADDRESS = 6_000


@frozen
class Session:
    """What the handshake established. ``proven``: the client knows the secret (or there is none to know).

    ``owner`` is "" or the UUID that the client's key stands for; ``authorized``: that key may go without the secret.
    """

    purpose: str
    proven: bool
    owner: str
    host: str
    program: str
    authorized: bool = False


Conversations = Mapping[str, Callable[[Peer, Session], Conversation]]


@frozen(kw_only=True)
class ServerTerms:
    """How a server meets its clients.

    ``conversations`` maps each purpose to what makes its responders, ``anonymous`` names those that need no secret;
    ``facts`` is asked anew for each session. ``authorized`` says which keys may go without the secret, where any may
    (Note [A key instead of the secret]); a server with neither it nor a secret lets everybody do everything.
    ``identity`` gives the server's own key, where it has one. ``heartbeat`` and ``timeout`` are seconds.
    """

    kind: str
    secret: Secret | None
    conversations: Conversations
    facts: Callable[[], dict[str, str]] = dict
    anonymous: frozenset[str] = frozenset()
    authorized: Callable[[bytes], bool] | None = None
    identity: Callable[[], Identity | None] = lambda: None
    heartbeat: float = 15.0
    timeout: float = 45.0


class ServerFactory(Factory):
    """Makes the server's end of each connection; knows which are open."""

    noisy = False
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        terms: ServerTerms,
        limit: int = MAX_CONNECTIONS,
        per_address: int = CONNECTIONS_PER_ADDRESS,
    ) -> None:
        self._clock = clock
        self._terms = terms
        self._limit = limit
        self._per_address = per_address
        self.peers: set[ServerPeer] = set()
        self.addresses: Counter[str] = Counter()
        self._turns = Turns(clock)

    def buildProtocol(self, addr: IAddress | None) -> ServerPeer | None:
        if len(self.peers) >= self._limit:
            self._log.warn("refusing a connection: {count} are open", count=len(self.peers))
            return None
        host = str(getattr(addr, "host", ""))
        if host and self.addresses[host] >= self._per_address:
            self._log.warn("refusing a connection from {host}: it has {count}", host=host, count=self.addresses[host])
            return None
        return ServerPeer(self._clock, self._terms, self, self._turns)

    def left(self, peer: ServerPeer, host: str) -> None:
        self.peers.discard(peer)
        self.addresses[host] -= 1
        if not self.addresses[host]:
            del self.addresses[host]

    def close_all(self) -> None:
        for peer in list(self.peers):
            peer.hang_up()


class ServerPeer(Peer):
    """The server's end of one connection."""

    def __init__(self, clock: IReactorTime, terms: ServerTerms, server: ServerFactory, turns: Turns) -> None:
        super().__init__(clock)
        self._terms = terms
        self._server = server
        self._host = ""
        self._turns = turns
        self._turn = 0.0
        self._gate: ReadGate | None = None
        self._deadline: IDelayedCall | None = None
        self._transcript: Transcript | None = None
        self._tried = False
        self._program = ""

    def connectionMade(self) -> None:
        super().connectionMade()
        self._server.peers.add(self)
        self._host = self.peer_host()
        self._server.addresses[self._host] += 1
        self._gate = self.gate_reading()
        self._deadline = self._clock.callLater(HANDSHAKE_DEADLINE, self.drop, "no handshake in time")

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        self._server.left(self, self._host)
        self._turns.leave(self)
        self._met_deadline()
        super().connectionLost(reason)
        self._gate = None

    # Note [Turns]

    def dataReceived(self, data: bytes) -> None:
        self._turn = self._turns.end()
        super().dataReceived(data)

    def may_go_on(self) -> bool:
        if not self._turns.is_over(self._turn) or not self.is_holding or self._gate is None or self.is_dropped:
            return True
        self._gate.shut("turn")
        self._turns.wait(self)
        return False

    def go_on(self) -> None:
        if self._gate is not None:
            self._gate.open("turn")

    # The handshake.

    @responder(Hello)
    def hello(self, oldest: int, newest: int, program: str, purpose: str, nonce: bytes) -> dict[str, Any]:
        if self._transcript is not None:
            raise Malformed("a second Hello")
        if len(nonce) != NONCE:
            raise Malformed("a nonce of the wrong length")
        self._program = program[:80]
        version = agreed_version(oldest, newest, self._program, purpose)
        if purpose not in self._terms.conversations:
            raise PermissionRefused(f"this is a deployd {self._terms.kind}; it has no sessions for {purpose[:40]!r}")
        mine = secrets.token_bytes(NONCE)
        self._transcript = Transcript(version, self._terms.kind, purpose, nonce, mine)
        has_secret = self._terms.secret is not None
        return {"version": version, "kind": self._terms.kind, "secret": has_secret, "nonce": mine}

    @responder(Prove)
    def prove(self, proof: bytes, owner: str, key: bytes, signature: bytes) -> dict[str, Any]:
        transcript = self._transcript
        if transcript is None or self._tried:
            raise Malformed("Prove out of order")
        # One guess a connection, also of those that were sent together.
        self._tried = True
        terms = self._terms
        try:
            proven = check_client(transcript, terms.secret, owner, proof)
            if owner:
                check_owner(transcript, owner, key, signature)
            authorized = bool(owner) and terms.authorized is not None and terms.authorized(key)
            if terms.secret is None and terms.authorized is None:
                proven = True
            elif not proven and not authorized and transcript.purpose not in terms.anonymous:
                raise SecretRefused(self._missing(owner))
        except SecretRefused as error:
            self._log.info("refusing {peer}: {error}", peer=self.peer_name(), error=error)
            self._clock.callLater(0, self.hang_up)
            raise
        self._met_deadline()
        session = Session(transcript.purpose, proven, owner, self.peer_host(), self._program, authorized)
        conversation = terms.conversations[session.purpose](self, session)
        self.established(conversation, terms.heartbeat, terms.timeout)
        answer = transcript.server_proof(terms.secret, owner) if terms.secret and proven else b""
        identity = terms.identity()
        facts = terms.facts() | (server_facts(transcript, identity, owner) if identity else {})
        times = {"heartbeat": float(terms.heartbeat), "timeout": float(terms.timeout)}
        return {"proof": answer, "facts": facts, **times}

    def _missing(self, owner: str) -> str:
        if self._terms.authorized is None:
            return "this needs the secret, and none was given"
        if owner:
            return f"this needs the secret or an authorized key, and the key of {owner} is not authorized here"
        return "this needs the secret or an authorized key, and neither was given"

    def _met_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
