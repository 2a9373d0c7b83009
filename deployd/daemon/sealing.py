"""Values that may lie on a disk only sealed: with a key in a file that is not where they are kept.

Note [The key is a file]
~~~~~~~~~~~~~~~~~~~~~~~~
A copy of a database, of a journal or of a disk's directory is worth nothing without the key, so the key is in a file of
its own, which can be kept elsewhere. It is made when something has to be sealed for the first time, and is on the disk
before anything depends on it. It may have several lines, a key each: the first seals, all of them unseal, so that a new
key is put in front of the old one.

Everything here blocks: it runs in threads. The library is loaded only where something is sealed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from deployd.errors import Refused

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MAX_KEY_FILE = 16 * 1024

Keys = Callable[[bool], tuple[bytes, ...]]
"""Gives the keys; made where there are none if that is asked for. Raises Refused."""


class Unreadable(Refused):
    """That was not sealed with any of these keys, or is damaged."""


class Seal:
    """Seals and unseals with ``keys``."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def seal(self, plain: bytes, make: bool = True) -> str:
        """``plain`` as only the keys can read it; ``make`` one where there is none. Raise Refused."""
        return self._fernet(self._keys(make)).encrypt(plain).decode()

    def unseal(self, sealed: str) -> bytes:
        """What was sealed; raise Refused, Unreadable."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet(self._keys(False)).decrypt(sealed)
        except (InvalidToken, ValueError):
            raise Unreadable() from None

    def _fernet(self, keys: tuple[bytes, ...]) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in keys])


class KeyFile:
    """The keys in the file at ``path``, read each time: nothing must be sealed with one that is not there any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()

    def __call__(self, make: bool) -> tuple[bytes, ...]:
        with self._lock:
            return self._read(make)

    def _read(self, make: bool) -> tuple[bytes, ...]:
        try:
            with self.path.open("rb") as file:
                return self._parsed(file.read(MAX_KEY_FILE))
        except FileNotFoundError:
            if not make:
                raise Refused(f"the key {self.path} is not there") from None
        except OSError as error:
            raise Refused(f"cannot read the key {self.path}: {error.strerror}") from None
        try:
            return (self._make(),)
        except OSError as error:
            raise Refused(f"cannot make the key {self.path}: {error.strerror}") from None

    def _parsed(self, content: bytes) -> tuple[bytes, ...]:
        from cryptography.fernet import Fernet

        keys = tuple(content.split())
        try:
            for key in keys:
                Fernet(key)
        except ValueError:
            keys = ()
        if not keys:
            raise Refused(f"{self.path} holds no key: it is 32 bytes in URL-safe base64, or several lines of that")
        return keys

    def _make(self) -> bytes:
        """A new key, once it is on the disk. A link, unlike a rename, replaces nothing."""
        from cryptography.fernet import Fernet

        key = Fernet.generate_key()
        beside = self.path.with_name(self.path.name + ".new")
        write(beside, key + b"\n")
        try:
            os.link(beside, self.path)
        finally:
            beside.unlink()
        sync_directory(self.path.parent)
        return key


def write(path: Path, content: bytes) -> None:
    """``content`` in a private file, on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Let the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
