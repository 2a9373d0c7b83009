"""The row of one instance in the port table."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.attempt import Attempt
from deployd.drone.means import Means
from deployd.errors import DeploydError, NoAnswer
from deployd.model.revision import Revision

RETRY = 5.0
FREE_LIMIT = 5.0


class Row:
    """``there``: it may be in the table; ``freed``: the registry's revision since which it is not, once known."""

    _log = Logger()

    def __init__(self, means: Means, id: str) -> None:
        self._means = means
        self._id = id
        self.there = False
        self.freed: Revision | None = None

    async def put(self, attempt: Attempt, refused: Callable[[DeploydError], None], stands: bool = False) -> None:
        """Return once the registry has acknowledged it; ``refused`` hears of each refusal on the way.

        ``stands``: an earlier life of the drone has put it.
        """
        self.there, self.freed = True, None
        while True:
            try:
                await self._means.rows.put(attempt.row(self._means.drone), stands)
                return
            except DeploydError as error:
                refused(error)
            await deferLater(self._means.reactor, RETRY)

    async def free(self) -> None:
        """Return once it is gone; there is a revision to tell even of an instance that never had a row."""
        while True:
            try:
                self.freed = await self._means.rows.free(self._id)
                self.there = False
                return
            except DeploydError as error:
                self._not_yet(Failure(error))
            await deferLater(self._means.reactor, RETRY)

    async def free_soon(self) -> None:
        """As ``free``, for as long as a stop may wait: while the registry is away, nobody is sent here by it either."""
        try:
            await Deferred.fromCoroutine(self.free()).addTimeout(FREE_LIMIT, self._means.reactor, _too_late)
        except NoAnswer:
            self._not_yet(Failure())

    def drop(self) -> None:
        """Free it without waiting: what it points to is gone already."""
        if self.there:
            self.there = False
            self._means.rows.free(self._id).addErrback(self._not_yet)

    def _not_yet(self, failure: Failure) -> None:
        self._log.warn("cannot free the row of {id} yet: {error}", id=self._id, error=failure.value)


def _too_late(_: object, limit: float) -> None:
    raise NoAnswer(f"the registry did not answer within {limit:g} s")
