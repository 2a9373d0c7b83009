"""The cluster's secret, and what is derived from it.

Note [One key for each purpose]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
The secret itself proves nothing on a link. Each purpose has a key of its own, ``PBKDF2-HMAC-SHA256(secret, "deployd 1
PURPOSE")``, so that a role of its own can later be given one key without learning the others, and a proof made for one
purpose is worth nothing for another. A *read token* is such a key as text: it opens the reading of a registry's HTTP
pages and nothing else, and may be given to whoever should not know the secret. The stretching makes guessing from a
recorded handshake, or from a read token, slower, not impossible: the docs ask for a long random secret.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path

from deployd.errors import UsageError

ITERATIONS = 10_000
MAX_SECRET = 4096
MAX_SECRET_FILE = 16 * 1024


class Secret:
    """A secret that no ``repr``, log line or traceback shows."""

    def __init__(self, text: str) -> None:
        if not text:
            raise UsageError("the secret is empty; give one, or leave the option away to run without")
        if len(text) > MAX_SECRET:
            raise UsageError(f"the secret is longer than {MAX_SECRET} characters")
        self._bytes = text.encode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return "<Secret>"

    def matches(self, offered: bytes) -> bool:
        """Whether ``offered`` (git's Basic password) is the secret; takes as long whatever differs."""
        return hmac.compare_digest(sha256(offered).digest(), sha256(self._bytes).digest())

    def key(self, purpose: str) -> bytes:
        """The 32-byte key of one purpose (Note [One key for each purpose])."""
        return _stretched(self._bytes, purpose)

    def read_token(self) -> str:
        """What opens the reading of a private registry over HTTP: 43 characters that any URL may have."""
        return urlsafe_b64encode(self.key("read token")).rstrip(b"=").decode("ascii")


def read_url(url: str, token: str) -> str:
    """The registry's ``url`` with a read token in its path, where every HTTP client sends it (docs/registry)."""
    return f"{url.rstrip('/')}/token/{token}"


def secret_from_file(path: str) -> Secret:
    """The first line of ``path``; raise UsageError with one sentence."""
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as file:
            return Secret(file.readline(MAX_SECRET_FILE).rstrip("\r\n"))
    except OSError as error:
        raise UsageError(f"cannot read the secret file {path}: {error.strerror}") from None


def proof(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over ``parts``, each preceded by its length so that no two lists give the same bytes."""
    return hmac.digest(key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")


def proves(offered: bytes, key: bytes, *parts: bytes) -> bool:
    return hmac.compare_digest(offered, proof(key, *parts))


def drone_credential(secret: Secret | None, owner: str) -> bytes:
    """What the hub gives a drone it accepted, for the registry to check: both know the secret, strangers do not."""
    key = secret.key("accept") if secret else b""
    return proof(key, b"deployd accepted drone", owner.encode("ascii"))


@lru_cache(maxsize=32)
def _stretched(secret: bytes, purpose: str) -> bytes:
    return pbkdf2_hmac("sha256", secret, b"deployd 1 " + purpose.encode("ascii"), ITERATIONS)
