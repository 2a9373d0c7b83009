"""Who an owner is: an Ed25519 key in its state directory.

Note [An owner is its key]
~~~~~~~~~~~~~~~~~~~~~~~~~~
The owner's UUID is made from the public key, and every handshake signs both nonces with it. So an id that everybody can
read in the port table cannot be taken over by another program, even one that knows the secret.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID, uuid5

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_OWNERS = UUID("6d1f0ad2-5f0c-5b43-9c8f-2a3f6ac1c6d4")


@frozen
class Identity:
    """An owner's key pair."""

    _private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def create(cls) -> Identity:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Identity:
        """The identity kept at ``path``, made (mode 0600, durably) when there is none; raise OSError, ValueError."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
        except FileNotFoundError:
            pass
        identity = cls.create()
        beside = path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(identity._private.private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        return identity

    @property
    def key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def owner(self) -> str:
        return owner_of(self.key)

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def owner_of(key: bytes) -> str:
    """The UUID (version 5) of the owner with this public key."""
    return str(uuid5(_OWNERS, key.hex()))


def signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the owner of ``key`` signed ``message``."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
