"""What a router's session answers (deployd.wire.routing)."""

from __future__ import annotations

from typing import Any

from deployd.errors import PermissionRefused
from deployd.hub.router_session import RouterSession
from deployd.hub.routers import LEASE
from deployd.hub.service import Hub
from deployd.model.route import Tally
from deployd.model.router import Standing
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.server import Session
from deployd.wire.routing import Count, Depart, Enter, Stand


class RouterConversation(Conversation):
    """One router's session; Enter comes first."""

    def __init__(self, hub: Hub, peer: Peer, session: Session) -> None:
        super().__init__()
        self._hub = hub
        self._peer = peer
        self._id = session.owner
        self._who = f"{session.program}@{session.host}"
        self._entering = False
        self._router: RouterSession | None = None

    def closed(self) -> None:
        if self._router is not None:
            self._hub.routers.lost(self._router)

    @responder(Enter)
    async def enter(self, name: str) -> dict[str, Any]:
        if self._entering:
            raise PermissionRefused("this session has entered already")
        self._entering = True
        hub = self._hub
        self._router = await hub.routers.enter(self._peer, self._id, name, self._who)
        return {"epoch": hub.ledger.epoch, "registry": hub.addresses.get("registry", ""), "lease": LEASE}

    @responder(Stand)
    def stand(self, standing: Standing) -> dict[str, Any]:
        self._hub.routers.stand(self._entered(), standing)
        return {}

    @responder(Count)
    def count(self, tallies: tuple[Tally, ...]) -> dict[str, Any]:
        self._hub.routers.count(self._entered(), tallies)
        return {}

    @responder(Depart)
    async def depart(self) -> dict[str, Any]:
        await self._hub.routers.depart(self._entered(), self._who)
        return {}

    def _entered(self) -> RouterSession:
        if self._router is None:
            raise PermissionRefused("a router has to enter first")
        return self._router
