"""What deployctl's session answers about logs (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.hub.person import PersonConversation, words
from deployd.net.conversation import responder
from deployd.wire.control import Logs, LogSources


class LogConversation(PersonConversation):
    """Which drones have logs, and what is in them."""

    @responder(LogSources)
    async def log_sources(self, app: str, commit: str, drone: str) -> dict[str, Any]:
        drones, releases = await self._hub.logs.sources(app, commit, drone)
        return {"drones": drones, "releases": releases}

    @responder(Logs)
    async def read_log(self, drone: str, app: str, releases: Any, **asked: Any) -> dict[str, Any]:
        return await self._hub.logs.read(drone, app, words(releases, "releases"), **asked)
