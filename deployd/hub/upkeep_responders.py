"""What deployctl's session answers about what is kept, and where (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.errors import UsageError
from deployd.hub.person import PersonConversation
from deployd.net.conversation import responder
from deployd.wire.control import DrainDrone, Pin, RetireUnused, SetPolicy


class UpkeepConversation(PersonConversation):
    """Which releases go or stay, and which machines are used."""

    @responder(RetireUnused)
    async def retire_unused(self, app: str, dry_run: bool, after: str) -> dict[str, Any]:
        rows, following = await self._hub.retirement.retire_unused(app, after, dry_run, self._who)
        return {"rows": rows, "next": following}

    @responder(Pin)
    async def pin(self, app: str, commit: str, pinned: bool) -> dict[str, Any]:
        release = await self._hub.upkeep.pin(app, commit, pinned, self._who)
        return {"commit": release.commit, "release": release.name}

    @responder(SetPolicy)
    async def set_policy(self, app: str, values: Any) -> dict[str, Any]:
        policy = await self._hub.upkeep.set_policy(app, texts(values), self._who)
        return {"values": policy.values()}

    @responder(DrainDrone)
    async def drain_drone(self, name: str, drain: bool, force: bool) -> dict[str, Any]:
        if drain:
            await self._hub.upkeep.drain(name, force, self._who)
        else:
            await self._hub.upkeep.undrain(name, self._who)
        return {}


def texts(values: Any) -> dict[str, str]:
    """A JSON object of texts; raise UsageError for anything else."""
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise UsageError("settings are given as texts by name")
    return values
