"""A person's session, before it can answer anything."""

from __future__ import annotations

from typing import Any

from deployd.errors import UsageError
from deployd.hub.service import Hub
from deployd.net.conversation import Conversation
from deployd.net.server import Session


class PersonConversation(Conversation):
    """``who`` they are goes into the events."""

    def __init__(self, hub: Hub, session: Session) -> None:
        super().__init__()
        self._hub = hub
        self._who = f"{session.program}@{session.host}"


def words(value: Any, what: str) -> tuple[str, ...]:
    """A JSON list of texts; raise UsageError for anything else."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UsageError(f"{what} are named by a list of texts")
    return tuple(value)
