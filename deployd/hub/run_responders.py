"""What deployctl's session answers about what it runs (deployd.wire.control)."""

from __future__ import annotations

from typing import Any

from deployd.errors import Refused, UnknownInstance
from deployd.hub.person import PersonConversation, words
from deployd.hub.runs import Asked
from deployd.hub.service import Hub
from deployd.hub.upkeep_responders import texts
from deployd.net.conversation import responder
from deployd.net.server import Session
from deployd.wire.control import Exec, ExecRead, ExecWrite
from deployd.wire.documents import load

MAX_RUNS = 200


class RunConversation(PersonConversation):
    """Runs belong to the session in which they were begun: they end with it, and no other one can meet them."""

    def __init__(self, hub: Hub, session: Session) -> None:
        super().__init__(hub, session)
        self._runs: dict[str, str] = {}
        self._over = False

    def closed(self) -> None:
        super().closed()
        self._over = True
        self._hub.runs.end(self._runs)

    @responder(Exec)
    async def begin_run(self, app: str, commit: str, drones: Any, every: bool, argv: Any, env: bytes) -> dict[str, Any]:
        asked = Asked(
            app, commit, words(drones, "drones"), every, words(argv, "the words of a command"), texts(load(env))
        )
        if len(self._runs) >= MAX_RUNS:
            raise Refused(f"one session can have {MAX_RUNS} commands running")
        release, runs = await self._hub.runs.begin(asked, self._who)
        begun = {run: drone for drone, run in runs.items()}
        if self._over:
            self._hub.runs.end(begun)
        self._runs |= begun
        return {"release": release.name, "commit": release.commit, "runs": runs}

    @responder(ExecRead)
    async def read_run(self, run: str, wait: float) -> dict[str, Any]:
        answer = await self._hub.runs.read(self._drone(run), run, wait)
        if answer["ended"] or answer["failed"]:
            self._runs.pop(run, None)
        return answer

    @responder(ExecWrite)
    async def write_run(self, run: str, data: bytes, end: bool) -> dict[str, Any]:
        return await self._hub.runs.write(self._drone(run), run, data, end)

    def _drone(self, run: str) -> str:
        if run not in self._runs:
            raise UnknownInstance("there is no such run in this session")
        return self._runs[run]
