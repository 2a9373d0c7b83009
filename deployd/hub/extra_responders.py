"""What deployctl's session answers about processes that people add (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.hub.extras import Asked
from deployd.hub.person import PersonConversation, words
from deployd.hub.upkeep_responders import texts
from deployd.net.conversation import responder
from deployd.wire.control import Spawn
from deployd.wire.documents import load


class ExtraConversation(PersonConversation):
    """More processes of a release."""

    @responder(Spawn)
    async def spawn(self, app: str, commit: str, drones: Any, role: str, argv: Any, env: bytes) -> dict[str, Any]:
        asked = Asked(app, commit, words(drones, "drones"), role, words(argv, "the command's words"), texts(load(env)))
        added = await self._hub.extras.add(asked, self._who)
        return {"release": added.release.name, "commit": added.release.commit, "ids": added.ids}
