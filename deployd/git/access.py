"""Who may do what with a repository: the question that the git service asks and the hub answers."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol


class Action(Enum):
    """What a request wants. FETCH_DEPLOYED is READ plus the hidden ``refs/deploy/*``: a drone's short-lived token.

    Who offers no credentials at all may be permitted to READ what is public, and nothing else.
    """

    READ = auto()
    WRITE = auto()
    FETCH_DEPLOYED = auto()


class Access(Protocol):
    """Decides at once, in the reactor thread, in constant time; ``user`` and ``password`` are b"" when not given."""

    def permits(self, user: bytes, password: bytes, app: str, action: Action) -> bool:
        """Whether these credentials allow ``action`` on ``app``, which need not exist."""
        ...
