"""One connected router: that it is told the newest table, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError
from deployd.hub.router_table import Table
from deployd.model.revision import Revision
from deployd.model.router import ReleaseKey, Standing
from deployd.net.peer import Peer
from deployd.wire.routing import Follow

RETRY = 2.0


class RouterSession:
    """``changed`` is called whenever it stands elsewhere than before, or follows another table."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, peer: Peer, id: str, name: str, changed: Callable[[], None]) -> None:
        self.peer = peer
        self.id = id
        self.name = name
        self.standing: Standing | None = None
        self._clock = clock
        self._changed = changed
        self._newest: Table | None = None
        self._acknowledged: Table | None = None
        self._sending: Deferred[None] | None = None
        self._told = 0.0
        self._trouble = ""
        self._closed = False

    # What the router says.

    def stand(self, standing: Standing) -> None:
        if standing != self.standing:
            self.standing = standing
            self._changed()

    def has_passed(self, table: Revision, id: str, freed: Revision | None) -> bool:
        """Whether it sends nothing to instance ``id`` any more, which ``table`` was the first to have as leaving."""
        at = self._at(table)
        if at is None or at.busy.get(id, 0):
            return False
        # Of a registry that began anew it has no rows that an older one had.
        return freed is None or at.registry.epoch != freed.epoch or at.registry.reached(freed)

    def is_quiet(self, table: Revision, release: ReleaseKey) -> bool:
        """The same for a release, which ``table`` was the first to have as retiring."""
        at = self._at(table)
        return at is not None and not at.releases.get(str(release), 0)

    # What the hub wants.

    def follow(self, table: Table) -> None:
        """Lead the router to ``table``, unless there is a newer one meanwhile."""
        if self.follows(self._newest):
            self._told = self._clock.seconds()
        self._newest = table
        if self._sending is None and not self._closed:
            self._sending = Deferred.fromCoroutine(self._send())
            # It may be over already, where the peer answers at once.
            self._sending.addErrback(self._failed).addBoth(self._sent)

    def follows(self, table: Table | None) -> bool:
        """Whether it has acknowledged ``table``."""
        return table is None or (self._acknowledged is not None and self._acknowledged.revision == table.revision)

    def has_taken(self, table: Revision) -> bool:
        """Whether it has acknowledged the table of that revision, or a later one."""
        return not table.number or (self._acknowledged is not None and self._acknowledged.revision.reached(table))

    def reason(self) -> str:
        """Why it does not follow the newest table yet, as a sentence."""
        waiting = f"was told {self._clock.seconds() - self._told:.0f} s ago and has not acknowledged yet"
        return f"{waiting}: {self._trouble}" if self._trouble else waiting

    def close(self) -> None:
        """The connection is gone, or is about to be."""
        self._closed = True
        if self._sending is not None:
            self._sending.cancel()

    def _at(self, table: Revision) -> Standing | None:
        """Where it stands, if that is at ``table`` or later, and at what this session was told.

        A router may come with a table of a state of the hub that is lost, whose number says nothing.
        """
        at, newest = self.standing, self._newest
        known = at is not None and newest is not None and newest.revision.reached(at.table)
        return at if at is not None and known and at.table.reached(table) else None

    async def _send(self) -> None:
        """Send tables until the newest is followed; one is under way at a time."""
        while self._acknowledged is not self._newest:
            table = self._newest
            assert table is not None
            try:
                if await self._send_pages(table):
                    self._acknowledged, self._trouble = table, ""
                    self._changed()
            except DeploydError as error:
                if self.peer.is_closed:
                    return
                self._log.warn("{router} does not follow its table: {error}", router=self.name, error=error)
                # It may have taken it all the same, or something else: what it has is not known any more.
                self._acknowledged, self._trouble = None, str(error)
                self._changed()
                await deferLater(self._clock, RETRY)

    async def _send_pages(self, table: Table) -> bool:
        """Send all parts of one table; False when a newer one came before the last."""
        base = self._acknowledged
        if base is not None and base.revision.epoch != table.revision.epoch:
            base = None
        parts = table.pages(base)
        for part, items in enumerate(parts):
            await self.peer.call(
                Follow,
                revision=table.revision,
                base=0 if base is None else base.revision.number,
                part=part,
                parts=len(parts),
                items=items,
            )
            if self._newest is not table and part + 1 < len(parts):
                return False
        return True

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("while telling {router}", failure=failure, router=self.name)

    def _sent(self, _: None) -> None:
        self._sending = None
