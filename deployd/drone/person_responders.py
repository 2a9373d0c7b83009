"""What the hub asks a drone for on behalf of people: logs, and commands that they run."""

from __future__ import annotations

from typing import Any

from deployd.drone.lines import check, check_line
from deployd.drone.log_following import LogFollowing
from deployd.drone.log_reading import Wanted
from deployd.drone.runs import Runs
from deployd.errors import Malformed
from deployd.model.instance import AssignedInstance
from deployd.model.names import app_name, release_number, role_name
from deployd.net.conversation import Conversation, responder
from deployd.wire.documents import load
from deployd.wire.fleet import BeginRun, EndRun, ReadLog, ReadRun, WriteRun


class PersonConversation(Conversation):
    """One session of the hub, as far as people are behind it."""

    def __init__(self, logs: LogFollowing, runs: Runs) -> None:
        super().__init__()
        self._logs = logs
        self._runs = runs

    @responder(ReadLog)
    async def read_log(
        self, app: str, releases: Any, role: str, after: int, newest: int, wait: float
    ) -> dict[str, Any]:
        # They become the names of directories.
        app_name(app)
        if role:
            role_name(role)
        if not isinstance(releases, list) or not all(isinstance(name, str) for name in releases):
            raise Malformed("releases are a list of names")
        for name in releases:
            check(release_number(name) is not None, name, "a release")
        page = await self._logs.read(Wanted(app, frozenset(releases), role), after, newest, wait)
        return page.answer()

    @responder(BeginRun)
    def begin_run(self, run: str, line: AssignedInstance, env: bytes) -> dict[str, Any]:
        check_line(line)
        check(run == line.id and line.once, run, "a run")
        values = load(env)
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise Malformed("an environment is an object of texts")
        self._runs.begin(line, values)
        return {}

    @responder(ReadRun)
    async def read_run(self, run: str, wait: float) -> dict[str, Any]:
        told = await self._runs.read(run, wait)
        return {
            "stdout": told.stdout,
            "stderr": told.stderr,
            "ended": told.ended,
            "code": told.code,
            "failed": told.failed,
        }

    @responder(WriteRun)
    async def write_run(self, run: str, data: bytes, end: bool) -> dict[str, Any]:
        return {"room": await self._runs.write(run, data, end)}

    @responder(EndRun)
    def end_run(self, run: str) -> dict[str, Any]:
        self._runs.end(run)
        return {}
