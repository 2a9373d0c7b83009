"""Who an owner is: an Ed25519 key in its state directory.

Note [An owner is its key]
~~~~~~~~~~~~~~~~~~~~~~~~~~
The owner's UUID is made from the public key, and every handshake signs both nonces with it. So an id that everybody can
read in the port table cannot be taken over by another program, even one that knows the secret.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid5

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from deployd.errors import Refused, UsageError

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
        identity._write(beside, os.O_TRUNC)
        beside.rename(path)
        return identity

    @classmethod
    def read(cls, path: Path) -> Identity:
        """The identity in a file that somebody names; raise UsageError where there is none."""
        try:
            # No further than a key goes, whatever the file is.
            with path.open("rb") as file:
                return cls(Ed25519PrivateKey.from_private_bytes(file.read(1024)))
        except OSError as error:
            raise UsageError(f"cannot read the key {path}: {(error.strerror or str(error)).lower()}") from None
        except ValueError:
            raise UsageError(f"{path} is not a key as `deployctl key new` makes it") from None

    @classmethod
    def new(cls, path: Path) -> Identity:
        """A new identity at ``path``, where nothing may be yet (mode 0600, durably); raise Refused."""
        identity = cls.create()
        try:
            identity._write(path, os.O_EXCL)
        except FileExistsError:
            raise Refused(f"{path} is there already; a key is never overwritten, take another name") from None
        except OSError as error:
            raise Refused(f"cannot write the key {path}: {(error.strerror or str(error)).lower()}") from None
        return identity

    def _write(self, path: Path, how: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._private.private_bytes_raw())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # Half a key would only be in the way.
            with suppress(OSError):
                path.unlink()
            raise

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
