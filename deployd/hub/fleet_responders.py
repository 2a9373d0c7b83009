"""What a drone's session answers (deployd.wire.fleet)."""

from __future__ import annotations

from typing import Any

from deployd.errors import PermissionRefused
from deployd.hub.drone_session import DroneSession
from deployd.hub.service import Hub
from deployd.hub.tokens import LIFETIME
from deployd.hub.web import git_url
from deployd.model.drone import DroneDescription
from deployd.model.instance import ObservedInstance
from deployd.model.revision import Revision
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.secret import drone_credential
from deployd.net.server import Session
from deployd.wire.documents import dump
from deployd.wire.fleet import FetchConfig, FetchToken, Join, Report


class DroneConversation(Conversation):
    """One drone's session; Join comes first."""

    def __init__(self, hub: Hub, peer: Peer, session: Session) -> None:
        super().__init__()
        self._hub = hub
        self._peer = peer
        self._owner = session.owner
        self._who = f"{session.program}@{session.host}"
        self._joining = False
        self._drone: DroneSession | None = None

    def closed(self) -> None:
        if self._drone is not None:
            self._hub.fleet.leave(self._drone)

    @responder(Join)
    async def join(self, description: DroneDescription, advertise: str) -> dict[str, Any]:
        if self._joining:
            raise PermissionRefused("this session has joined already")
        self._joining = True
        hub = self._hub
        joined = await hub.fleet.join(self._peer, self._owner, description, advertise, self._who)
        self._drone = joined.session
        return {
            "epoch": hub.ledger.epoch,
            "registry": hub.addresses.get("registry", ""),
            "git": git_url(hub.addresses),
            "host": joined.host,
            "credential": drone_credential(hub.secret, self._owner),
        }

    @responder(Report)
    async def report(
        self, assignment: Revision, part: int, parts: int, instances: tuple[ObservedInstance, ...]
    ) -> dict[str, Any]:
        drone = self._joined()
        await self._hub.fleet.check(drone, assignment)
        drone.report(assignment, part, parts, instances)
        return {}

    @responder(FetchToken)
    async def fetch_token(self, app: str) -> dict[str, Any]:
        self._joined()
        await self._hub.commits.check_app(app)
        return {"token": self._hub.tokens.issue(app), "lifetime": LIFETIME}

    @responder(FetchConfig)
    async def fetch_config(self, app: str, release: str, commit: str, extra: str) -> dict[str, Any]:
        drone = self._joined()
        key = (app, release, commit)
        return {"values": dump(await self._hub.configs.of_release(drone.drone.name, drone.seen, key, extra))}

    def _joined(self) -> DroneSession:
        if self._drone is None:
            raise PermissionRefused("a drone has to join first")
        return self._drone
