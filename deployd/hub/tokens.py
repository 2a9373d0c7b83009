"""Passwords that let a drone read one repository for a few minutes."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from twisted.internet.interfaces import IReactorTime

LIFETIME = 600.0
MAX_TOKENS = 10_000


class Tokens:
    """Kept as digests, in the order of their ends; when there are too many, the oldest go first."""

    def __init__(self, clock: IReactorTime, random: Callable[[], str] = secrets.token_urlsafe) -> None:
        self._clock = clock
        self._random = random
        self._tokens: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def issue(self, app: str) -> bytes:
        """A token that opens ``app`` for LIFETIME seconds."""
        self._expire()
        while len(self._tokens) >= MAX_TOKENS:
            self._tokens.popitem(last=False)
        token = self._random().encode("ascii")
        self._tokens[sha256(token).digest()] = (app, self._clock.seconds() + LIFETIME)
        return token

    def opens(self, token: bytes, app: str) -> bool:
        """Whether ``token`` opens ``app`` now; how long the answer takes tells nothing of other tokens."""
        self._expire()
        return self._tokens.get(sha256(token).digest(), ("", 0.0))[0] == app != ""

    def _expire(self) -> None:
        now = self._clock.seconds()
        while self._tokens and next(iter(self._tokens.values()))[1] <= now:
            self._tokens.popitem(last=False)
