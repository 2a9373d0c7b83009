"""A reader's side of the registry: the port table as it changes, whatever happens to the connection.

Note [Following the table]
~~~~~~~~~~~~~~~~~~~~~~~~~~
The registry answers with single changes after a position (deployd.registry.position says which positions there are).
What has come before the table is *whole* again is held back, over a lost link too, so that whoever listens sees the
table only as it was at some revision: the lines of one transaction together, and after a reset no row before the
snapshot is there and caught up with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd.client.owner import seen_from_here
from deployd.client.reader import Document, follow
from deployd.errors import DeploydError, Malformed
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration, checked, host_name
from deployd.model.revision import Revision
from deployd.net.client import ClientPeer, Dial
from deployd.net.link import RETRY, Link
from deployd.wire.rows import registration

# So soon no registry at work says that nothing has changed.
SOON = 1.0
MAX_HELD = 50_000
# Of a whole table: more than any registry has.
MAX_SNAPSHOT = 400_000

# A row that was put, or None for one that is gone.
Changes = dict[str, Registration | None]


class RowWatcher(MultiService):
    """Tells of the rows of a registry, and of each change of them.

    ``dial`` is for sessions to "read"; they need no secret. ``reset(rows, revision, same_epoch)`` is called with all
    rows, at first and whenever the changes since the last call are not known; ``same_epoch`` is false at first and
    when the registry has started anew (it may have only a part of its rows back then). ``changed(put, gone, revision)``
    is called with what happened up to ``revision`` since the last call of either. ``http`` is the registry's HTTP
    address as reached from here. ``failed`` hears, with a sentence, of each attempt to connect or follow that failed.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        dial: Dial,
        reset: Callable[[tuple[Registration, ...], Revision, bool], None],
        changed: Callable[[tuple[Registration, ...], tuple[str, ...], Revision], None],
        failed: Callable[[DeploydError], None] | None = None,
        max_held: int = MAX_HELD,
        max_snapshot: int = MAX_SNAPSHOT,
    ) -> None:
        super().__init__()
        self.http = ""
        self.revision: Revision | None = None
        self._dial = dial
        self._reset = reset
        self._changed = changed
        self._failed = failed or self._log_failure
        self._max_held = max_held
        self._max_snapshot = max_snapshot
        self._position = ""
        self._held: Changes = {}
        # Whether what is held begins with a reset.
        self._anew = False
        self._failures = 0
        self._peer: ClientPeer | None = None
        self._following: Deferred[None] | None = None
        self._link = Link(dial, self._attach, failed=self._failed)
        self._link.setServiceParent(self)

    @property
    def connected(self) -> bool:
        """Whether a session is up."""
        return self._peer is not None

    def stopService(self) -> Deferred[Any]:
        """Hang up; nothing is called any more."""
        stopping: Deferred[Any] = super().stopService()
        self._stop_following()
        return stopping

    async def _attach(self, peer: ClientPeer) -> None:
        self.http = seen_from_here(peer, peer.shown)
        self._stop_following()
        self._peer = peer
        peer.when_closed().addCallback(lambda _: self._lost(peer))
        self._following = Deferred.fromCoroutine(self._follow(peer))
        self._following.addErrback(lambda failure: failure.trap(CancelledError))

    def _lost(self, peer: ClientPeer) -> None:
        if self._peer is peer:
            self._stop_following()

    def _stop_following(self) -> None:
        self._peer = None
        following, self._following = self._following, None
        if following is not None:
            following.cancel()

    async def _follow(self, peer: ClientPeer) -> None:
        """Until the connection is gone."""
        while not peer.is_closed:
            try:
                await self._step(peer)
                self._failures = 0
                continue
            except DeploydError as error:
                if peer.is_closed:
                    return
                self._failed(type(error)(f"{peer.shown}: {error}"))
            except CancelledError:
                raise
            except Exception:  # whoever listens may have taken a part of it only
                self._log.failure("while following {shown}", shown=peer.shown)
                self._forget()
            self._failures += 1
            await deferLater(self._dial.clock, RETRY(self._failures), lambda: None)

    async def _step(self, peer: ClientPeer) -> None:
        asked, clock = self._position, self._dial.clock
        since = clock.seconds()
        came = await follow(peer, asked)
        try:
            self._hold(came.lines)
            if not self._anew and (self.revision is None or not came.revision.reached(self.revision)):
                raise Malformed("the registry's revisions do not go on: beginning anew")
        except Malformed:
            self._forget()
            raise
        self._position = came.position
        if came.whole and (self._held or self._anew):
            self._tell(came.revision)
        elif came.whole:
            self.revision = came.revision
            if came.position == asked and clock.seconds() - since < SOON:
                # It did not wait, perhaps because it is about to end.
                await deferLater(clock, SOON, lambda: None)

    def _tell(self, revision: Revision) -> None:
        held, self._held, anew, self._anew = self._held, {}, self._anew, False
        before, self.revision = self.revision, revision
        put = tuple(row for row in held.values() if row is not None)
        if anew:
            self._reset(put, revision, before is not None and revision.reached(before))
        else:
            self._changed(put, tuple(row_id for row_id, row in held.items() if row is None), revision)

    def _hold(self, lines: list[Document]) -> None:
        """Take ``lines`` to what is told next; a row that cannot be read is none; one line of the log says so."""
        bad = []
        for line in lines:
            if line["type"] == "reset":
                self._held, self._anew = {}, True
                continue
            row_id = line["row"]["id"]
            row = _read(line["row"]) if line["type"] == "put" else None
            if row is None and line["type"] == "put":
                bad.append(row_id[:130])
            self._held[row_id] = row
        if bad:
            said = "{shown} has {count} rows that are no good, like {id!r}"
            self._log.warn(said, shown=self._dial.shown, count=len(bad), id=bad[0])
        if len(self._held) > (self._max_snapshot if self._anew else self._max_held):
            what = "a table" if self._anew else "a single change"
            raise Malformed(f"{what} of more than {len(self._held)} rows: beginning anew")

    def _forget(self) -> None:
        self._position, self._held, self._anew = "", {}, False

    def _log_failure(self, error: DeploydError) -> None:
        self._log.warn("{error}", error=error)


def _read(document: Document) -> Registration | None:
    """The row, if it is one."""
    try:
        row: Registration = checked(registration(document))
        host_name(row.host)
    except (Malformed, Invalid):
        return None
    return row
