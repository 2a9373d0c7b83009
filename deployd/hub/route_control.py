"""What deployctl's session answers about routes (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.hub.person import PersonConversation
from deployd.net.conversation import responder
from deployd.wire.control import RouteStatus


class RouteControl(PersonConversation):
    """Which requests go to which releases."""

    @responder(RouteStatus)
    def route_status(self) -> dict[str, Any]:
        hub = self._hub
        # What was saved a moment ago may wait for the next review.
        hub.tell_routers()
        waiting = [{"router": name, "reason": reason} for name, reason in hub.routers.waiting()]
        return {"routers": len(hub.routers.live()), "waiting": waiting, "revision": hub.news.revision}
