"""The port table's changes as a stream that survives its registry.

Note [A stream that goes on]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
What comes next is asked for only once the last lines are out, so a slow reader costs no memory here and none in the
registry; one that is too slow for the registry's history gets a reset. After a lost connection the registry is asked
for what comes after the last position whose lines were shown: none is lost, and none comes twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from deployd.cli.cluster import LAST_LOOK, LAST_LOOK_SHARE, Cluster
from deployd.cli.query_rows import query_page
from deployd.cli.query_words import Pattern
from deployd.cli.watch_words import NOW, Line
from deployd.errors import Busy, Malformed, Unreachable
from deployd.net.peer import CALL_TIMEOUT, Peer
from deployd.wire.lookup import Follow

WAIT = 25.0
# So soon no registry at work says that nothing has changed.
SOON = 0.5
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0

Show = Callable[[list[Line]], Awaitable[None]]


class RowStream:
    """``show`` gets lines as they come (none, now and then) and fires when they are out; ``note`` gets sentences."""

    def __init__(self, cluster: Cluster, wanted: Pattern, since: str, show: Show, note: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._position = since
        self._show = show
        self._note = note
        self._registry: Peer | None = None
        self._met = False
        self._pause = FIRST_PAUSE
        self._away = False

    async def run(self) -> None:
        """Until the deadline; raise Unreachable, SecretRefused, UsageError, ... where it cannot even begin."""
        margin = min(LAST_LOOK, self._cluster.remaining() * LAST_LOOK_SHARE)
        while (left := self._cluster.remaining() - margin) > 0:
            try:
                registry = await self._session()
                lines, position, waited = await self._next(registry, min(WAIT, left))
            except (Unreachable, Busy) as error:
                await self._lose(error)
                continue
            self._met, self._away, self._pause = True, False, FIRST_PAUSE
            await self._show(lines)
            self._position = position
            if not lines and waited < min(SOON, left):
                # It is about to end.
                await self._cluster.pause(FIRST_PAUSE)

    async def _session(self) -> Peer:
        if self._registry is None:
            self._registry = await self._cluster.registry()
            if self._position == NOW:
                revision = (await query_page(self._registry, self._wanted))["revision"]
                self._position = f"{revision.epoch}.{revision.number}"
        return self._registry

    async def _next(self, registry: Peer, wait: float) -> tuple[list[Line], str, float]:
        since = self._cluster.clock.seconds()
        answer: dict[str, Any] = await registry.call(
            Follow,
            timeout=wait + CALL_TIMEOUT,
            position=self._position,
            wait=wait,
            match=self._wanted.match,
            namespace=self._wanted.namespace,
            app=self._wanted.app,
            release=self._wanted.release,
        )
        lines = answer["lines"]
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise Malformed("the registry's lines are not what the protocol asks for")
        return lines, answer["position"], self._cluster.clock.seconds() - since

    async def _lose(self, error: Unreachable | Busy) -> None:
        """Dial again in a moment; raise ``error`` where the registry was never met, or the time is over."""
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.transport.abortConnection()
        if not self._met or self._cluster.remaining() <= self._pause:
            raise error
        # First, since Ctrl-C ends the connection too.
        await self._cluster.pause(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if not self._away:
            self._away = True
            self._note(f"{error}; going on when the registry is back")
