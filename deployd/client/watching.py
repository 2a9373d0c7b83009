"""A reader's side of the registry: the port table as it changes, whatever happens to the connection.

Note [Following the table]
~~~~~~~~~~~~~~~~~~~~~~~~~~
The registry answers with single changes after a position (deployd.registry.history says how it gives them). What has
come of a revision that is not complete yet is held back, over a lost link too, so that whoever listens sees the table
only as it was at some revision. A listing takes a while, and its pages show the table at different moments; so the
changes since the position from before it are applied on top until the revision at its end is reached: from there on
the rows are again those of one revision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from deployd.client.owner import seen_from_here
from deployd.client.reader import each_page
from deployd.errors import DeploydError, Malformed
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration, checked, host_name
from deployd.model.revision import Revision
from deployd.net.client import Dial
from deployd.net.link import RETRY, Link
from deployd.net.peer import CALL_TIMEOUT, Peer
from deployd.wire.codec import from_json
from deployd.wire.lookup import Watch

# The registry answers after this many seconds at the latest, if nothing changes.
WAIT = 25.0
# So soon no registry at work says that nothing has changed.
SOON = 1.0
MAX_HELD = 50_000
MAX_CATCHING_UP = 20_000

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
    ) -> None:
        super().__init__()
        self.http = ""
        self.revision: Revision | None = None
        self._dial = dial
        self._reset = reset
        self._changed = changed
        self._failed = failed or self._log_failure
        self._max_held = max_held
        self._position = ""
        self._held: Changes = {}
        self._failures = 0
        self._peer: Peer | None = None
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

    async def _attach(self, peer: Peer) -> None:
        self.http = seen_from_here(peer, self._dial.shown)
        self._stop_following()
        self._peer = peer
        peer.when_closed().addCallback(lambda _: self._lost(peer))
        self._following = Deferred.fromCoroutine(self._follow(peer))
        self._following.addErrback(lambda failure: failure.trap(CancelledError))

    def _lost(self, peer: Peer) -> None:
        if self._peer is peer:
            self._stop_following()

    def _stop_following(self) -> None:
        self._peer = None
        following, self._following = self._following, None
        if following is not None:
            following.cancel()

    async def _follow(self, peer: Peer) -> None:
        """Until the connection is gone."""
        while not peer.is_closed:
            try:
                await self._step(peer)
                self._failures = 0
                continue
            except DeploydError as error:
                if peer.is_closed:
                    return
                self._failed(type(error)(f"{self._dial.shown}: {error}"))
            except CancelledError:
                raise
            except Exception:  # whoever listens may have taken a part of it only
                self._log.failure("while following {shown}", shown=self._dial.shown)
                self._position = ""
            self._failures += 1
            await deferLater(self._dial.clock, RETRY(self._failures), lambda: None)

    async def _step(self, peer: Peer) -> None:
        asked, clock = self._position, self._dial.clock
        since = clock.seconds()
        answer = await _watch(peer, asked, WAIT)
        if answer["reset"]:
            await self._list(peer, answer["position"])
            return
        if self.revision is None or not answer["revision"].reached(self.revision):
            self._forget()
            raise Malformed("the registry's revisions do not go on: listing all rows")
        self._hold(answer["changes"])
        self._position = answer["position"]
        if answer["revision"] == self.revision:
            if self._position == asked and clock.seconds() - since < SOON:
                # It did not wait, perhaps because it is about to end.
                await deferLater(clock, SOON, lambda: None)
            return
        held, self._held, self.revision = self._held, {}, answer["revision"]
        put = tuple(row for row in held.values() if row is not None)
        gone = tuple(row_id for row_id, row in held.items() if row is None)
        self._changed(put, gone, answer["revision"])

    def _hold(self, changes: Any) -> None:
        self._apply(changes, self._held)
        if len(self._held) > self._max_held:
            self._forget()
            raise Malformed(f"a single change of more than {self._max_held} rows: listing them all")

    def _forget(self) -> None:
        self._position, self._held = "", {}

    async def _list(self, peer: Peer, position: str) -> None:
        """All rows, as of one revision (Note [Following the table])."""
        self._forget()
        rows: Changes = {}
        await each_page(peer, lambda page: self._apply([{"put": row} for row in page], rows))
        end: Revision = (await _watch(peer, "", 0.0))["revision"]
        revision = None
        for _ in range(MAX_CATCHING_UP):
            answer = await _watch(peer, position, 0.0)
            if answer["reset"]:
                raise Malformed("the table changed too much while it was listed: listing it again")
            self._apply(answer["changes"], rows)
            position, revision = answer["position"], answer["revision"]
            if revision.reached(end):
                break
        else:
            raise Malformed("the registry's changes do not go on")
        same_epoch = self.revision is not None and self.revision.epoch == revision.epoch
        self._position, self.revision = position, revision
        self._reset(tuple(row for row in rows.values() if row is not None), revision, same_epoch)

    def _apply(self, changes: Any, rows: Changes) -> None:
        """Write what changed into ``rows``; a row that cannot be read is none; one line of the log says so."""
        if not isinstance(changes, list):
            raise Malformed("the registry's changes are not what the protocol asks for")
        bad = []
        for change in changes:
            row_id, row = _read(change)
            if row is None and "put" in change:
                bad.append(row_id[:130])
            rows[row_id] = row
        if bad:
            said = "{shown} has {count} rows that are no good, like {id!r}"
            self._log.warn(said, shown=self._dial.shown, count=len(bad), id=bad[0])

    def _log_failure(self, error: DeploydError) -> None:
        self._log.warn("{error}", error=error)


async def _watch(peer: Peer, position: str, wait: float) -> dict[str, Any]:
    answer: dict[str, Any] = await peer.call(Watch, timeout=wait + CALL_TIMEOUT, position=position, wait=wait)
    return answer


def _read(change: Any) -> tuple[str, Registration | None]:
    """The row's id, and the row if there is one that can be read; raise Malformed."""
    if isinstance(change, dict) and isinstance(change.get("delete"), str):
        return change["delete"], None
    put = change.get("put") if isinstance(change, dict) else None
    if not isinstance(put, dict) or not isinstance(put.get("id"), str):
        raise Malformed("the registry's changes are not what the protocol asks for")
    try:
        row = checked(from_json(put, Registration))
        host_name(row.host)
    except (Malformed, Invalid):
        return put["id"], None
    return put["id"], row
