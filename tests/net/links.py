"""Two ends of a conversation over iosim, on one Clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.test.iosim import IOPump, connect

from deployd.net.client import ClientPeer, Dial
from deployd.net.conversation import Conversation
from deployd.net.handshake import Credentials
from deployd.net.secret import Secret
from deployd.net.server import ServerFactory, ServerTerms
from deployd.testing.transports import transport

SECRET = Secret("beep boop")


def terms(**changes: Any) -> ServerTerms:
    """A hub that serves "deploy" to whoever knows SECRET; ``changes`` override."""
    plain: dict[str, Any] = {
        "kind": "hub",
        "secret": SECRET,
        "conversations": {"deploy": lambda peer, session: Conversation()},
        "facts": lambda: {"http": "127.0.0.1:6002"},
    }
    return ServerTerms(**(plain | changes))


def credentials(secret: Secret | None = SECRET, purpose: str = "deploy", **changes: Any) -> Credentials:
    return Credentials("deployctl 0.1", purpose, secret, **changes)


class Ends:
    """A client and a server peer that are connected; ``greet`` does the handshake."""

    def __init__(self, server_terms: ServerTerms | None = None) -> None:
        self.clock = Clock()
        self.factory = ServerFactory(self.clock, server_terms or terms())
        server = self.factory.buildProtocol(None)
        assert server is not None
        self.server = server
        self.client = ClientPeer(self.clock)
        self.pump: IOPump = connect(server, transport(server, True), self.client, transport(self.client, False))

    def greet(self, mine: Credentials | None = None, conversation: Any = None) -> Deferred[None]:
        dial = Dial(self.clock, None, "hub:6001", mine or credentials())  # type: ignore[arg-type]
        done = Deferred.fromCoroutine(self.client.shake_hands(dial, conversation or (lambda _: Conversation())))
        self.flush()
        return done

    def flush(self) -> None:
        self.pump.flush()

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass in steps, delivering what is sent."""
        passed = 0.0
        while passed < seconds:
            self.clock.advance(step)
            self.flush()
            passed += step
