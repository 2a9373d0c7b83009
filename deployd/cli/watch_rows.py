"""The port table's changes as a stream that survives its registry.

Note [A stream that goes on]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
What comes next is asked for only once the last lines are out, so a slow reader costs no memory here and none in the
registry; one that is too slow for the registry's history gets a reset. After a lost connection the registry is asked
for what comes after the last position whose lines were shown: none is lost, and none comes twice. A line with ``more``
is held back until it is known whether one that was asked for comes after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from deployd.cli.cluster import LAST_LOOK, LAST_LOOK_SHARE, Cluster
from deployd.cli.watch_words import Line
from deployd.client.reader import WAIT, Lines, Wanted, follow
from deployd.errors import Busy, Unreachable
from deployd.model.revision import NOW
from deployd.net.peer import Peer

# So soon no registry at work says that nothing has changed.
SOON = 0.5
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0

Show = Callable[[list[Line]], Awaitable[None]]


class RowStream:
    """``show`` gets lines as they come and fires when they are out; ``note`` gets sentences."""

    def __init__(self, cluster: Cluster, wanted: Wanted, since: str, show: Show, note: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._position = since
        self._show = show
        self._note = note
        self._registry: Peer | None = None
        self._met = False
        self._pause = FIRST_PAUSE
        self._away = False
        self._held: list[Line] = []

    async def run(self) -> None:
        """Until the deadline; raise Unreachable, SecretRefused, UsageError, ... where it cannot even begin."""
        margin = min(LAST_LOOK, self._cluster.remaining() * LAST_LOOK_SHARE)
        while (left := self._cluster.remaining() - margin) > 0:
            try:
                registry = await self._session()
                since = self._cluster.clock.seconds()
                # Where now is has to be known first, to come back to it.
                wait = min(WAIT, left) if self._position != NOW else 0.0
                page = await follow(registry, self._position, self._wanted, wait)
            except (Unreachable, Busy) as error:
                await self._lose(error)
                continue
            self._met, self._away, self._pause = True, False, FIRST_PAUSE
            lines = self._known(page)
            if lines:
                await self._show(lines)
            self._position = page.position
            if not page.lines and self._cluster.clock.seconds() - since < min(SOON, wait):
                # It is about to end.
                await self._cluster.pause(FIRST_PAUSE)

        if self._held:
            await self._show(self._held)

    def _known(self, page: Lines) -> list[Line]:
        """Its lines, after one that was held, but for one to hold."""
        lines = [*self._held, *page.lines]
        self._held = []
        if lines and page.whole:
            lines[-1] = {name: value for name, value in lines[-1].items() if name != "more"}
        elif lines:
            self._held = [lines.pop()]
        return lines

    async def _session(self) -> Peer:
        if self._registry is None:
            self._registry = await self._cluster.registry()
        return self._registry

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
