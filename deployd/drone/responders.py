"""What the hub may say to a drone."""

from __future__ import annotations

from typing import Any

from deployd.drone.instances import Instances
from deployd.drone.prefetching import Prefetching
from deployd.errors import Refused
from deployd.model.instance import AssignedInstance, Goal
from deployd.model.invalid import Invalid
from deployd.model.names import app_name, is_commit, release_number, role_name, shown
from deployd.model.revision import Revision
from deployd.net.conversation import Conversation, responder
from deployd.wire.fleet import Assign, Prefetch
from deployd.wire.paging import Assembly


class HubConversation(Conversation):
    """One session of the hub."""

    def __init__(self, instances: Instances, prefetching: Prefetching) -> None:
        super().__init__()
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
        _check(is_commit(commit), commit, "a commit")
        self._prefetching.add(app, ref, commit)
        return {}


def check_line(line: AssignedInstance) -> None:
    """Raise Invalid unless its names can be names of files: a broken hub must not make a drone write elsewhere."""
    app_name(line.app)
    role_name(line.role)
    _check(is_commit(line.commit), line.commit, "a commit")
    _check(release_number(line.release) is not None, line.release, "a release")
    role, _, digest = line.id.rpartition("-")
    _check(role == line.role and digest.isalnum() and digest.isascii() and len(digest) < 65, line.id, "an instance id")
    # What is to end needs no command any more.
    _check(bool(line.argv) or line.goal is not Goal.RUN, line.id, "an instance with a command")


def _check(right: bool, text: str, what: str) -> None:
    if not right:
        raise Invalid(f"{shown(text)} is not {what}")
