"""A drone that has logs, and runs what people ask for."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from deployd.errors import UnknownInstance
from deployd.model.instance import AssignedInstance
from deployd.net.conversation import responder
from deployd.wire.fleet import BeginRun, EndRun, ReadLog, ReadRun, WriteRun
from tests.hub.rig import Cluster, FakeDrone

PAGE = {"data": b"records", "sources": [{"id": "http-a"}], "next": 7, "more": True}
SILENCE = {"stdout": b"", "stderr": b"", "ended": False, "code": 0, "failed": ""}


class TalkingDrone(FakeDrone):
    """``asked`` is what was read of its logs; ``runs`` the lines and environments of its runs, by name."""

    def __init__(self, cluster: Cluster, name: str = "d1", **description: Any) -> None:
        super().__init__(cluster, name, {"command": ("serve",)} | description)
        self.asked: list[dict[str, Any]] = []
        self.runs: dict[str, tuple[AssignedInstance, dict[str, str]]] = {}
        self.written: list[tuple[str, bytes, bool]] = []
        self.says: dict[str, Any] | Deferred[Any] = SILENCE
        self.problem: Exception | None = None
        self.held: Deferred[None] | None = None
        cluster.drones.append(self)
        self.join()

    @responder(ReadLog)
    def read_log(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        return PAGE

    @responder(BeginRun)
    async def begin_run(self, run: str, line: AssignedInstance, env: bytes) -> dict[str, Any]:
        if self.problem is not None:
            raise self.problem
        if self.held is not None:
            await self.held
        self.runs[run] = line, json.loads(env)
        return {}

    @responder(ReadRun)
    async def read_run(self, run: str, wait: float) -> dict[str, Any]:
        self._check(run)
        answer: dict[str, Any] = await maybeDeferred(lambda: self.says)
        return answer

    @responder(WriteRun)
    def write_run(self, run: str, data: bytes, end: bool) -> dict[str, Any]:
        self._check(run)
        self.written.append((run, data, end))
        return {"room": True}

    @responder(EndRun)
    def end_run(self, run: str) -> dict[str, Any]:
        self.runs.pop(run, None)
        return {}

    def _check(self, run: str) -> None:
        if run not in self.runs:
            raise UnknownInstance(f"there is no run {run}")
