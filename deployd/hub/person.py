"""A person's session, before it can answer anything."""

from __future__ import annotations

from deployd.hub.service import Hub
from deployd.net.conversation import Conversation
from deployd.net.server import Session


class PersonConversation(Conversation):
    """``who`` they are goes into the events."""

    def __init__(self, hub: Hub, session: Session) -> None:
        super().__init__()
        self._hub = hub
        self._who = f"{session.program}@{session.host}"
