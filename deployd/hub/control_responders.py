"""What deployctl's session answers (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.hub.config_responders import ConfigConversation
from deployd.hub.deploys import Request
from deployd.hub.extra_responders import ExtraConversation
from deployd.hub.listing import Filter, first_page
from deployd.hub.log_responders import LogConversation
from deployd.hub.person import words
from deployd.hub.rollouts import MAX_REASON, MAX_TAIL
from deployd.hub.route_control import RouteControl
from deployd.hub.run_responders import RunConversation
from deployd.hub.upkeep_responders import UpkeepConversation
from deployd.net.conversation import responder
from deployd.wire.control import (
    AwaitChange,
    Deploy,
    DeployStatus,
    Events,
    ForgetDrone,
    List,
    Restart,
    Retire,
    Status,
    Stop,
)


class ControlConversation(
    RouteControl, UpkeepConversation, ConfigConversation, ExtraConversation, LogConversation, RunConversation
):
    """One person's session, everything that they may ask."""

    def closed(self) -> None:
        super().closed()
        self._hub.news.leave(self)

    @responder(Deploy)
    async def deploy(self, app: str, commit: str, drones: Any, where: Any, need: str, timeout: float) -> dict[str, Any]:
        request = Request(app, commit, words(drones, "drones"), words(where, "labels"), need, timeout)
        decided = await self._hub.deploys.deploy(request, self._who)
        return {"commit": decided.release.commit, "release": decided.release.name, "changed": decided.changed}

    @responder(DeployStatus)
    def deploy_status(self, app: str, release: str, after: str) -> dict[str, Any]:
        standing = self._hub.deploys.standing(app, release)
        rows = (
            (
                row.drone,
                {
                    "drone": row.drone,
                    "state": row.state,
                    "reason": row.reason[:MAX_REASON],
                    "tail": row.tail[-MAX_TAIL:],
                },
            )
            for row in standing.drones
        )
        page, following = first_page(rows, after)
        return {
            "state": standing.state,
            "reason": standing.reason,
            "need": standing.need,
            "drones": page,
            "next": following,
            "left": standing.left,
            "revision": self._hub.news.revision,
        }

    @responder(AwaitChange)
    async def await_change(self, revision: int, wait: float) -> dict[str, Any]:
        return {"revision": await self._hub.news.wait(revision, wait, self)}

    @responder(List)
    async def list(self, kind: str, app: str, commit: str, drone: str, after: str) -> dict[str, Any]:
        # Before the rows are made: what changes meanwhile must not be missed.
        revision = self._hub.news.revision
        rows, following = await self._hub.listing.page(kind, Filter(app, commit, drone, after))
        return {"rows": rows, "next": following, "revision": revision}

    @responder(Events)
    async def events(self, app: str, newest: int, above: int) -> dict[str, Any]:
        revision = self._hub.news.revision
        page = await self._hub.chronicle.page(app, newest, above)
        return {"rows": page.rows, "number": page.number, "more": page.more, "revision": revision}

    @responder(Stop)
    async def stop(self, ids: Any) -> dict[str, Any]:
        await self._hub.instances.stop(words(ids, "ids"), self._who)
        return {}

    @responder(Restart)
    async def restart(self, ids: Any) -> dict[str, Any]:
        return {"generations": await self._hub.instances.restart(words(ids, "ids"), self._who)}

    @responder(Retire)
    async def retire(self, app: str, commit: str) -> dict[str, Any]:
        release = await self._hub.retirement.retire(app, commit, self._who)
        return {"commit": release.commit, "release": release.name}

    @responder(ForgetDrone)
    async def forget_drone(self, name: str) -> dict[str, Any]:
        await self._hub.fleet.forget(name, self._who)
        return {}

    @responder(Status)
    def status(self) -> dict[str, Any]:
        return {"document": self._hub.status()}
