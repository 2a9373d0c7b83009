"""What deployctl's session answers about what is kept, and where (deployd.wire.control)."""

from __future__ import annotations

from deployd.hub.person import PersonConversation


class UpkeepConversation(PersonConversation):
    """Which releases go or stay, and which machines are used."""
