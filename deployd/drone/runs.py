"""The commands that somebody has the drone run, and watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from deployd.drone.means import Means
from deployd.drone.run import Pipes, Run, Told
from deployd.errors import Busy, Refused, UnknownInstance
from deployd.model.instance import AssignedInstance

MAX_RUNS = 20
CLOSING = 10.0


class Runs:
    """Nothing of a run outlives the drone's life: what a killed one has left is swept at the next start."""

    def __init__(self, means: Means, pipes: Callable[[Callable[[], None]], Pipes]) -> None:
        self._means = means
        self._pipes = pipes
        self._runs: dict[str, Run] = {}
        self._closed: Deferred[None] | None = None

    def begin(self, line: AssignedInstance, env: Mapping[str, str]) -> None:
        """Run ``line`` with ``env`` added to its environment. Raise Busy, Refused."""
        if self._closed is not None:
            raise Refused("the drone is being stopped")
        if line.id in self._runs:
            raise Refused(f"{line.id} runs already")
        if len(self._runs) >= MAX_RUNS:
            raise Busy(f"{MAX_RUNS} commands run on {self._means.drone} already; try again when one has ended")
        run = self._runs[line.id] = Run(self._means, line, env, self._pipes, self._gone)
        run.start()

    async def read(self, id: str, wait: float) -> Told:
        """As ``Run.read``; raise UnknownInstance."""
        return await self._run(id).read(wait)

    async def write(self, id: str, data: bytes, end: bool) -> bool:
        """As ``Run.write``; raise UnknownInstance, Refused."""
        return await self._run(id).write(data, end)

    def end(self, id: str) -> None:
        """Nobody wants it any more, if it is still there."""
        if id in self._runs:
            self._runs[id].end()

    def close(self) -> Deferred[Any]:
        """End all, at once; fires when nothing is left, or soon."""
        self._closed = Deferred()
        for run in list(self._runs.values()):
            run.end(0.0)
        self._all_gone()
        return self._closed.addTimeout(CLOSING, self._means.reactor, lambda result, _: None)

    def _run(self, id: str) -> Run:
        if id not in self._runs:
            raise UnknownInstance("it does not run here any more; the drone may have been restarted")
        return self._runs[id]

    def _gone(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        self._all_gone()

    def _all_gone(self) -> None:
        if self._closed is not None and not self._runs and not self._closed.called:
            self._closed.callback(None)
