"""How two ends come to trust each other: a version, then a proof from either side.

Note [Who proves what]
~~~~~~~~~~~~~~~~~~~~~~
The client proves first, so that a stranger who dials a server gets nothing to guess the secret from. Both proofs cover
everything that was said (version, kind, purpose, owner, both nonces) under different labels, so neither can be replayed
nor reflected. A client that has a secret leaves a server that has none: it may be an impostor. Only a registry serves
sessions that prove nothing, and only for reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from deployd.errors import IncompatibleVersion, SecretRefused
from deployd.net.secret import Secret, proof, proves
from deployd.wire.handshake import NEWEST_VERSION, OLDEST_VERSION, OLDEST_VERSIONS

if TYPE_CHECKING:
    from deployd.net.identity import Identity

NONCE = 32


@frozen
class Credentials:
    """What a client brings: ``purpose`` names the conversation it wants."""

    program: str
    purpose: str
    secret: Secret | None = None
    identity: Identity | None = None


@frozen
class Transcript:
    """All that both ends said before the proofs."""

    version: int
    kind: str
    purpose: str
    client_nonce: bytes
    server_nonce: bytes

    def said(self, owner: str) -> tuple[bytes, ...]:
        words = (str(self.version), self.kind, self.purpose, owner)
        return (*(word.encode() for word in words), self.client_nonce, self.server_nonce)

    def client_proof(self, secret: Secret, owner: str) -> bytes:
        return proof(secret.key(self.purpose), b"client", *self.said(owner))

    def server_proof(self, secret: Secret, owner: str) -> bytes:
        return proof(secret.key(self.purpose), b"server", *self.said(owner))

    def signature(self, identity: Identity) -> bytes:
        return identity.sign(b"\0".join((b"deployd owner", *self.said(identity.owner))))


def agreed_version(oldest: int, newest: int, program: str, purpose: str) -> int:
    """The version to speak with a peer that speaks ``oldest`` to ``newest``; raise IncompatibleVersion."""
    needed = OLDEST_VERSIONS.get(purpose, OLDEST_VERSION)
    if oldest > NEWEST_VERSION:
        raise IncompatibleVersion(
            f"{program} speaks protocol versions from {oldest} on, this side up to {NEWEST_VERSION}; upgrade this side"
        )
    if newest < needed:
        raise IncompatibleVersion(
            f"{program} speaks protocol versions up to {newest}, this side from {needed} on; upgrade {program}"
        )
    return min(newest, NEWEST_VERSION)


def check_client(transcript: Transcript, secret: Secret | None, owner: str, offered: bytes, anonymous: bool) -> bool:
    """Whether the client proved the secret (or there is none); False for a session that may go without.

    Raise SecretRefused for a wrong proof, or a missing one where ``anonymous`` is false.
    """
    if secret is None:
        return True
    if not offered:
        if anonymous:
            return False
        raise SecretRefused("this needs the secret, and none was given")
    if not proves(offered, secret.key(transcript.purpose), b"client", *transcript.said(owner)):
        raise SecretRefused("the secret is wrong")
    return True


def check_server(transcript: Transcript, secret: Secret, owner: str, offered: bytes) -> None:
    """Raise SecretRefused unless the server proved that it knows the secret."""
    if not proves(offered, secret.key(transcript.purpose), b"server", *transcript.said(owner)):
        raise SecretRefused("the server could not prove that it knows the secret; nothing was sent to it")


def check_owner(transcript: Transcript, owner: str, key: bytes, signature: bytes) -> None:
    """Raise SecretRefused unless whoever signed is the owner it says it is."""
    # Here and not above: deployctl has no identity, and `cryptography` would be a third of its start.
    from deployd.net.identity import owner_of, signed

    message = b"\0".join((b"deployd owner", *transcript.said(owner)))
    if owner_of(key) != owner or not signed(key, signature, message):
        raise SecretRefused("the owner's key does not fit the owner's name")
