"""What deployctl's session answers about the environments of apps (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.hub.person import PersonConversation, words
from deployd.hub.upkeep_responders import texts
from deployd.net.conversation import responder
from deployd.wire.control import GetConfig, SetConfig
from deployd.wire.documents import dump, load


class ConfigConversation(PersonConversation):
    """What apps find in their environments."""

    @responder(SetConfig)
    async def set_config(self, app: str, values: bytes, unset: Any) -> dict[str, Any]:
        setting = await self._hub.configs.set(app, texts(load(values)), words(unset, "variables"), self._who)
        return {"number": setting.number, "names": list(setting.names), "changed": setting.changed}

    @responder(GetConfig)
    async def get_config(self, app: str, commit: str) -> dict[str, Any]:
        number, values = await self._hub.configs.get(app, commit)
        return {"number": number, "values": dump(values)}
