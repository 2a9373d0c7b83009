"""What deployctl's session answers about routes (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.hub.person import PersonConversation
from deployd.hub.promotions import PromoteRequest
from deployd.hub.route_listing import setting_row
from deployd.hub.routes import RouteRequest
from deployd.net.conversation import responder
from deployd.wire.control import Promote, RemoveRoute, RollBack, RouteStatus, SetRoute, Steer


class RouteControl(PersonConversation):
    """Which requests go to which releases."""

    @responder(SetRoute)
    async def set_route(self, **asked: Any) -> dict[str, Any]:
        return {"number": await self._hub.routes.set(RouteRequest(**asked), self._who)}

    @responder(RemoveRoute)
    async def remove_route(self, host: str, path: str) -> dict[str, Any]:
        await self._hub.routes.remove(host, path, self._who)
        return {}

    @responder(RollBack)
    async def roll_back(self, host: str, path: str, to: int) -> dict[str, Any]:
        hub = self._hub
        number, entry = await hub.routes.roll_back(host, path, to, self._who)
        return {"number": number, "back_to": entry.number, "setting": setting_row(hub.ledger.desired, entry.setting)}

    @responder(Promote)
    async def promote(self, **asked: Any) -> dict[str, Any]:
        return {"number": await self._hub.promotions.promote(PromoteRequest(**asked), self._who)}

    @responder(Steer)
    async def steer(self, host: str, path: str, deed: str) -> dict[str, Any]:
        return {"number": await self._hub.promotions.steer(host, path, deed, self._who)}

    @responder(RouteStatus)
    def route_status(self) -> dict[str, Any]:
        hub = self._hub
        # What was saved a moment ago may wait for the next review.
        hub.tell_routers()
        waiting = [{"router": name, "reason": reason} for name, reason in hub.routers.waiting()]
        return {"routers": len(hub.routers.live()), "waiting": waiting, "revision": hub.news.revision}
