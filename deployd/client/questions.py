"""Questions that outlive the connection over which they are asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from deployd.client.reader import WAIT, Wanted, query
from deployd.client.session import ReadingSession
from deployd.errors import Busy, Unreachable
from deployd.model.registration import Registration
from deployd.net.link import RETRY
from deployd.wire.rows import registration

# Under way at once; the registry answers 64 of one connection.
MAX_QUESTIONS = 50


class Questions:
    """Asks over ``session``, again after each failure that may pass; whoever asks cancels when it is too long."""

    def __init__(self, clock: IReactorTime, session: ReadingSession) -> None:
        self._clock = clock
        self._session = session
        self._asking = 0

    async def rows(self, wanted: Wanted, meta: Mapping[str, Any] | None, near: str, some: bool) -> list[Registration]:
        """The rows that match, those of ``near`` first; with ``some``, once there is one. Raise Busy, UsageError."""
        if self._asking >= MAX_QUESTIONS:
            raise Busy(f"this client asks {MAX_QUESTIONS} questions already")
        self._asking += 1
        failures = 0
        try:
            while True:
                try:
                    wait = WAIT if some else 0.0
                    rows = await query(await self._session.up(), wanted, meta=meta, near=near, wait=wait)
                    if rows or not some:
                        return [registration(row) for row in rows]
                except (Unreachable, Busy):
                    pass
                # Also where there was none: a registry that is about to end does not wait.
                failures += 1
                await deferLater(self._clock, RETRY(failures), lambda: None)
        finally:
            self._asking -= 1
