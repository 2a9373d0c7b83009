"""How two ends come to trust each other: a version, then a proof from either side.

Note [Who proves what]
~~~~~~~~~~~~~~~~~~~~~~
The client proves first, so that a stranger who dials a server gets nothing to guess the secret from. Both proofs cover
everything that was said (version, kind, purpose, owner, both nonces) under different labels, so neither can be replayed
nor reflected. A client that has a secret leaves a server that has none: it may be an impostor. Only a registry serves
sessions that prove nothing, and only for reading.

Note [A key instead of the secret]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A registry may take an owner whose key is authorized there for one that may write a little (deployd.model.grant). Such a
client has no secret by which it could check the server. So a registry has a key of its own and signs the same words
with it; a client that was given that key (``Credentials.server_keys``) leaves a server that cannot sign with it, and
one that was not takes whoever answers at the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from deployd.errors import IncompatibleVersion, SecretRefused
from deployd.net.secret import Secret, proof, proves
from deployd.wire.handshake import NEWEST_VERSION, OLDEST_VERSION, OLDEST_VERSIONS

if TYPE_CHECKING:
    from deployd.net.identity import Identity

NONCE = 32


@frozen
class Credentials:
    """What a client brings: ``purpose`` names the conversation it wants.

    ``server_keys``: the server must have one of them, if there are any (Note [A key instead of the secret]).
    """

    program: str
    purpose: str
    secret: Secret | None = None
    identity: Identity | None = None
    server_keys: tuple[bytes, ...] = ()


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
        return identity.sign(self.owner_words(identity.owner))

    def server_signature(self, identity: Identity, owner: str) -> bytes:
        return identity.sign(self.server_words(owner))

    def owner_words(self, owner: str) -> bytes:
        return b"\0".join((b"deployd owner", *self.said(owner)))

    def server_words(self, owner: str) -> bytes:
        return b"\0".join((b"deployd server", *self.said(owner)))


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


def check_client(transcript: Transcript, secret: Secret | None, owner: str, offered: bytes) -> bool:
    """Whether the client proved the secret; raise SecretRefused for a wrong proof."""
    if secret is None or not offered:
        return False
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

    if owner_of(key) != owner or not signed(key, signature, transcript.owner_words(owner)):
        raise SecretRefused("the owner's key does not fit the owner's name")


def server_facts(transcript: Transcript, identity: Identity, owner: str) -> dict[str, str]:
    """What a server with a key says of itself, for ``check_server_key``."""
    return {"key": identity.key.hex(), "signature": transcript.server_signature(identity, owner).hex()}


def check_server_key(transcript: Transcript, keys: tuple[bytes, ...], owner: str, facts: Mapping[str, Any]) -> None:
    """Raise SecretRefused unless the server proved that it has one of ``keys``."""
    from deployd.net.identity import signed

    try:
        signature = bytes.fromhex(str(facts.get("signature", "")))
    except ValueError:
        signature = b""
    if not any(signed(key, signature, transcript.server_words(owner)) for key in keys):
        raise SecretRefused("the server could not prove that it has the key it should have; nothing was sent to it")
