"""What deployctl's session answers about the environments of apps (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.errors import UsageError
from deployd.hub.person import PersonConversation
from deployd.hub.upkeep_responders import texts
from deployd.net.conversation import responder
from deployd.wire.control import GetConfig, SetConfig
from deployd.wire.documents import dump, load


class ConfigConversation(PersonConversation):
    """What apps find in their environments."""

    @responder(SetConfig)
    async def set_config(self, app: str, values: bytes, unset: Any) -> dict[str, Any]:
        if not isinstance(unset, list) or not all(isinstance(name, str) for name in unset):
            raise UsageError("what to unset is named by a list of texts")
        setting = await self._hub.configs.set(app, texts(load(values)), unset, self._who)
        return {"number": setting.number, "names": list(setting.names), "changed": setting.changed}

    @responder(GetConfig)
    async def get_config(self, app: str, commit: str) -> dict[str, Any]:
        number, values = await self._hub.configs.get(app, commit)
        return {"number": number, "values": dump(values)}
