"""What the hub may say to a drone."""

from __future__ import annotations

from typing import Any

from deployd.drone.instances import Instances
from deployd.drone.lines import check, check_line
from deployd.drone.log_following import LogFollowing
from deployd.drone.person_responders import PersonConversation
from deployd.drone.prefetching import Prefetching
from deployd.drone.runs import Runs
from deployd.errors import Refused
from deployd.model.instance import AssignedInstance
from deployd.model.names import app_name, is_commit
from deployd.model.revision import Revision
from deployd.net.conversation import responder
from deployd.wire.fleet import Assign, Prefetch
from deployd.wire.paging import Assembly


class HubConversation(PersonConversation):
    """One session of the hub."""

    def __init__(self, instances: Instances, prefetching: Prefetching, logs: LogFollowing, runs: Runs) -> None:
        super().__init__(logs, runs)
        self._instances = instances
        self._prefetching = prefetching
        self._assembly: Assembly[AssignedInstance] = Assembly()
        self._closed = False

    def closed(self) -> None:
        self._closed = True

    @responder(Assign)
    async def assign(
        self, revision: Revision, part: int, parts: int, instances: tuple[AssignedInstance, ...]
    ) -> dict[str, Any]:
        for line in instances:
            check_line(line)
        whole = self._assembly.add(part, parts, instances)
        if whole is not None:
            if self._closed:
                raise Refused("this session is over")
            await self._instances.take(revision, whole)
        return {}

    @responder(Prefetch)
    def prefetch(self, app: str, ref: str, commit: str) -> dict[str, Any]:
        app_name(app)
        check(is_commit(commit), commit, "a commit")
        self._prefetching.add(app, ref, commit)
        return {}
