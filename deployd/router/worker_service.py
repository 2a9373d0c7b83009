"""What a worker process does: follows what the main process says, serves, and says how it stands."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from deployd.errors import DeploydError, Malformed
from deployd.model.revision import Revision
from deployd.model.router import Standing, TableItem
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import CALL_TIMEOUT, Peer
from deployd.router.counting import Counting
from deployd.router.row_fields import row_of
from deployd.router.serving import Serving
from deployd.router.table import Table
from deployd.router.worker_link import HEARTBEAT, SILENCE, adopted
from deployd.wire.paging import Assembly
from deployd.wire.routing import Follow, Stand
from deployd.wire.workers import FeedRows, Finish, Forbid, Gauges, Serve

EVERY = 2.0


class Worker:
    """Ends the reactor when the main process says so, or is gone, once requests have had their time."""

    _log = Logger()

    def __init__(self, reactor: Any, table: Table, serving: Serving) -> None:
        self._reactor = reactor
        self._table = table
        self._serving = serving
        self._counting = Counting(reactor, table.tallies)
        self._timer: IDelayedCall | None = None
        self._ending = False
        self._said: Standing | None = None
        self._peer: Peer

    def begin(self, connection: socket.socket) -> None:
        self._peer = adopted(self._reactor, connection, Peer(self._reactor))
        connection.close()
        self._peer.established(_Orders(self._table, self), HEARTBEAT, SILENCE)
        self._peer.when_closed().addCallback(lambda _: self.finish())
        self._table.on_quiet.append(self.stand)
        self._counting.attach(self._peer)
        self._timer = self._reactor.callLater(EVERY, self._gauge)

    def serve(self) -> None:
        self._serving.begin()

    def stand(self) -> None:
        """Say it before anything is answered: what was said first arrives first."""
        standing = self._table.standing()
        if standing != self._said and not self._peer.is_closed:
            self._said = standing
            self._peer.call(Stand, standing=standing).addErrback(self._unheard)

    def finish(self) -> None:
        if not self._ending:
            self._ending = True
            Deferred.fromCoroutine(self._finish()).addErrback(self._failed).addBoth(lambda _: self._reactor.stop())

    async def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._serving.stop_accepting()
        await self._serving.finish()
        self._counting.detach()
        if not self._peer.is_closed:
            await self._counting.last(self._peer, CALL_TIMEOUT)

    def _gauge(self) -> None:
        self._timer = self._reactor.callLater(EVERY, self._gauge)
        self._peer.call(Gauges, gauge=self._serving.gauge()).addErrback(self._unheard)

    def _unheard(self, failure: Any) -> None:
        failure.trap(DeploydError)

    def _failed(self, failure: Any) -> None:
        self._log.failure("while ending", failure=failure)


class _Orders(Conversation):
    """What the main process says."""

    def __init__(self, table: Table, worker: Worker) -> None:
        super().__init__()
        self._table = table
        self._worker = worker
        self._assembly: Assembly[TableItem] = Assembly()

    @responder(Follow)
    def follow(
        self, revision: Revision, base: int, part: int, parts: int, items: tuple[TableItem, ...]
    ) -> dict[str, Any]:
        whole = self._assembly.add(part, parts, items)
        if whole is not None:
            self._table.follow(revision, whole, whole=not base)
            self._worker.stand()
        return {}

    @responder(FeedRows)
    def feed_rows(self, rows: Any, gone: Any, revision: Revision) -> dict[str, Any]:
        if not isinstance(rows, list) or not isinstance(gone, list):
            raise Malformed("rows are lists")
        table = self._table
        if revision.number:
            # What outlives its registry, and for how long, the main process has decided already.
            table.registry = revision
        # A part at a time, as all of a large table would hold up requests for a second.
        table.rows_changed([row_of(row) for row in rows], map(str, gone), table.registry)
        if revision.number:
            self._worker.stand()
        return {}

    @responder(Forbid)
    def forbid(self, addresses: Any) -> dict[str, Any]:
        self._table.forbid([(str(host), int(port)) for host, port in addresses])
        return {}

    @responder(Serve)
    def serve(self) -> dict[str, Any]:
        self._worker.serve()
        return {}

    @responder(Finish)
    def finish(self) -> dict[str, Any]:
        self._worker.finish()
        return {}
