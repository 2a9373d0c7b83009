"""A registry that takes authorized keys, and its clients, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from deployd.model.grant import Grant
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import Secret
from deployd.net.server import ServerFactory, ServerTerms
from deployd.registry.grants import LOOK, Grants
from deployd.registry.guests import conversations
from deployd.registry.responders import ANONYMOUS
from deployd.wire.registry import Attach, Publish
from tests.client.network import SECRET, Network


class KeyedNetwork(Network):
    """``directory`` has the authorized keys; ``private``: reading is closed."""

    def __init__(self, directory: Path, secret: Secret | None = SECRET, private: bool = False) -> None:
        self.directory = directory
        self.private = private
        super().__init__(secret)

    def restart(self) -> None:
        super().restart()
        self.grants = Grants(self.clock, maybeDeferred, self.directory)
        self.grants.load()
        self.grants.startService()
        terms = ServerTerms(
            kind="registry",
            secret=self.secret,
            conversations=conversations(self.registry, self.grants),
            anonymous=frozenset() if self.private else ANONYMOUS,
            authorized=self.grants.authorizes,
        )
        self.factory = ServerFactory(self.clock, terms)

    def authorize(self, identity: Identity, name: str = "ci", roles: str = "http", namespaces: str = "dev") -> Path:
        """Write the file of a key and let the registry see it."""
        path = self.directory / name
        grant = Grant.of(identity.key, name, tuple(roles.split(",")), tuple(namespaces.split(",")))
        path.write_text(grant.line() + "\n")
        self.look()
        return path

    def look(self) -> None:
        """Until the registry has looked at the directory."""
        self.advance(LOOK)

    def dial(self, purpose: str, identity: Identity | None = None, secret: Secret | None = None) -> Dial:
        """Without the secret, unless it is given."""
        return Dial(self.clock, self, "registry:6000", Credentials("test", purpose, secret, identity))

    def session(self, purpose: str, identity: Identity | None = None, secret: Secret | None = None) -> Peer:
        return super().session(purpose, identity, secret)

    def guest(self, identity: Identity, credential: bytes = b"", secret: Secret | None = None) -> Peer:
        """A session to register, attached."""
        peer = self.session("register", identity, secret)
        self.answer(peer.call(Attach, name="d1", credential=credential, advertise=""))
        return peer

    def publish(self, peer: Peer, *rows: Any) -> Any:
        published: Deferred[Any] = peer.call(Publish, part=0, parts=1, rows=rows)
        return self.answer(published)
