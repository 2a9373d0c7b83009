"""An owner's side of the registry: rows that are kept registered, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from deployd.client.pending import Batch, Pending
from deployd.errors import (
    DeploydError,
    Malformed,
    NotOwner,
    PermissionRefused,
    Refused,
    Unreachable,
    UsageError,
)
from deployd.model.address import Address, reachable
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration, checked
from deployd.model.revision import Revision
from deployd.net.addresses import host_of
from deployd.net.client import ClientPeer, Dial
from deployd.net.link import Link
from deployd.net.peer import Peer
from deployd.wire.registry import Attach, Confirm, Leave, Publish, Update
from deployd.wire.row_text import text_pages

GOODBYE = 2.0
# Updates on the way at once: so many keep both ends at work.
WINDOW = 8
# About as many changes as fit into one.
MANY = 200

# Trying the same again would get the same answer; after any other error the session starts anew.
_REFUSALS = (Malformed, NotOwner, PermissionRefused, Refused, UsageError)


class OwnedRows(MultiService):
    """Keeps the rows of one owner in the registry (deployd.client.pending says how).

    ``dial`` carries the owner's identity, for sessions to "register"; the rows will say ``name``. ``credential`` (what
    the hub gave) and ``advertise`` may be set anew, and the next session brings them. ``host`` is what the registry
    says our rows carry, "" before it said so; ``http`` is its HTTP address as reached from here, and ``url`` that with
    the scheme; reading there takes the secret if the registry is ``private``. ``failed`` hears, with a sentence, of
    each attempt to connect that failed and of each row that the registry refused. ``before(peer)`` is awaited in each
    new session before it takes over from any other of this owner; raising a DeploydError prevents that. ``changed`` is
    called when a session is up, and when it is lost.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        dial: Dial,
        name: str,
        credential: bytes,
        advertise: str = "",
        failed: Callable[[DeploydError], object] | None = None,
        before: Callable[[Peer], Awaitable[None]] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._before = before
        self._name = name
        self.credential = credential
        self.advertise = advertise
        self.host = ""
        self.http = ""
        self.url = ""
        self.private = False
        self._dial = dial
        self._failed = failed or self._log_failure
        self._changed = changed or (lambda: None)
        self._pending = Pending()
        self._peer: ClientPeer | None = None
        self._in_flight = 0
        # Changes since something was sent.
        self._asked = 0
        self._soon: IDelayedCall | None = None
        self._left = False
        self._link = Link(dial, self._attach, failed=self._failed)
        self._link.setServiceParent(self)

    @property
    def connected(self) -> bool:
        """Whether a session is up, in which our rows stand."""
        return self._peer is not None

    @property
    def address(self) -> str:
        """Of the registry that has our rows; "" when none is connected."""
        return self._peer.shown if self._peer is not None else ""

    def wanted(self, row_id: str) -> Registration | None:
        """The row of ours as it should be in the registry."""
        return self._pending.wanted.get(row_id)

    def stopService(self) -> Deferred[Any]:
        """Hang up; the rows stay until the registry's timeout. Whoever waits gets a CancelledError."""
        stopping: Deferred[Any] = super().stopService()
        self._pending.cancel_all()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        return stopping

    def put(self, row: Registration, standing: bool = False) -> Deferred[Revision]:
        """Register ``row``, or change it; fires once the registry has it, however long that takes.

        Fails with the registry's refusal, with Refused when the row is freed before, and with UsageError, Refused or
        Busy at once for a row that cannot be. ``host``, ``owner`` and ``drone`` are filled in by the registry.
        Cancelling gives up the waiting; the row stays wanted until it is freed. ``standing``: an earlier life of this
        owner has registered it, and not for a moment should it be away.
        """
        if row.host or row.owner or row.drone or row.revision:
            row = evolve(row, host="", owner="", drone="", revision=0)
        return self._change(lambda: self._pending.put(checked(row), standing))

    def free(self, row_id: str) -> Deferred[Revision]:
        """See to it that there is no such row of ours; fires once that is so in the registry."""
        return self._change(lambda: self._pending.free(row_id))

    def leave(self) -> Deferred[None]:
        """An orderly goodbye: the registry frees our rows now. Takes two seconds at most, whatever it does."""
        return Deferred.fromCoroutine(self._leave())

    def _change(self, change: Callable[[], Deferred[Revision]]) -> Deferred[Revision]:
        if self._left:
            return fail(Refused("this owner has left the registry"))
        try:
            done = change()
        except Invalid as error:
            return fail(UsageError(str(error)))
        except DeploydError as error:
            return fail(error)
        if self._peer is not None and self._in_flight < WINDOW:
            self._asked += 1
            if self._asked >= MANY:
                # Whoever asks for thousands of rows need not be through before the registry begins.
                self._send()
            if self._soon is None:
                # What is asked for in one turn of the reactor goes together.
                self._soon = self._dial.clock.callLater(0, self._flush)
        return done

    async def _attach(self, peer: ClientPeer) -> None:
        """A connection is up: say who we are and what was ours, then what has changed since."""
        if self._before is not None:
            await self._before(peer)
        answer = await peer.call(Attach, name=self._name, credential=self.credential, advertise=self.advertise)
        self.host = answer["host"]
        self.http, self.url = seen_from_here(peer, peer.shown), url_from_here(peer, peer.shown)
        self.private = peer.facts.get("private", "") == "yes"
        if await self._confirm(peer, answer["stands"]):
            self._pending.confirmed()
        else:
            self._pending.published(*await self._publish(peer))
        if peer.is_closed:
            self._pending.lost()
            raise Unreachable("the connection was lost")
        self._peer, self._in_flight = peer, 0
        peer.when_closed().addCallback(lambda _: self._lost(peer))
        self._changed()
        self._flush()

    async def _confirm(self, peer: ClientPeer, stands: Revision | None) -> bool:
        """Whether the registry has our rows as it acknowledged them (Note [Where an owner stands])."""
        if stands is None or stands != self._pending.stands:
            return False
        try:
            await peer.call(Confirm, stands=stands)
        except _REFUSALS:
            return False
        return True

    async def _publish(self, peer: ClientPeer) -> tuple[list[Registration], Revision | None]:
        """What the registry has then, and where we stand with it."""
        kept = self._pending.kept()
        try:
            return kept, await _publish(peer, kept)
        except _REFUSALS as error:
            self._failed(type(error)(f"{peer.shown} no longer takes the rows it had: {error}"))
            return [], await _publish(peer, [])

    def _lost(self, peer: ClientPeer) -> None:
        if self._peer is peer:
            self._peer = None
            self._pending.lost()
            self._changed()

    def _flush(self) -> None:
        """Send what is to be said, as far as the window has room."""
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None
        while self._in_flight < WINDOW and self._send():
            pass

    def _send(self) -> bool:
        """Send the next update; whether there was one."""
        self._asked = 0
        peer = self._peer
        batch = self._pending.batch() if peer is not None else None
        if peer is None or batch is None:
            return False
        self._in_flight += 1
        answer = peer.call(Update, put=batch.text, free=batch.free)
        answer.addCallbacks(self._accepted, self._not_accepted, (peer, batch), {}, (peer, batch))
        answer.addErrback(lambda failure: self._log.failure("while updating rows", failure=failure))
        return True

    def _accepted(self, answer: dict[str, Any], peer: ClientPeer, batch: Batch) -> None:
        if self._peer is peer:
            self._in_flight -= 1
            self._pending.accepted(batch, answer["revision"], answer["stands"])
            self._flush()

    def _not_accepted(self, failure: Any, peer: ClientPeer, batch: Batch) -> None:
        if self._peer is not peer:
            return
        self._in_flight -= 1
        if not failure.check(*_REFUSALS):
            self._lost(peer)
            peer.drop(f"an update failed: {failure.value}")
            return
        if self._pending.refused(batch, failure.value):
            self._failed(type(failure.value)(f"{peer.shown} refused {batch.ids[0]}: {failure.value}"))
        self._flush()

    async def _leave(self) -> None:
        self._left = True
        self._pending.cancel_all()
        peer = self._peer
        if peer is not None:
            self._lost(peer)
            try:
                await peer.call(Leave, timeout=GOODBYE)
            except DeploydError as error:
                self._log.info("left {shown} without its answer: {error}", shown=peer.shown, error=error)
                peer.transport.abortConnection()
        await (self.stopService() if self.running else succeed(None))

    def _log_failure(self, error: DeploydError) -> None:
        self._log.warn("{error}", error=error)


async def _publish(peer: Peer, rows: list[Registration]) -> Revision | None:
    parts = text_pages(rows)
    answer: dict[str, Any] = {}
    for part, page in enumerate(parts):
        answer = await peer.call(Publish, part=part, parts=len(parts), rows=page)
    stands: Revision | None = answer["stands"]
    return stands


def url_from_here(peer: Peer, dialled: str) -> str:
    """The URL of the registry's HTTP side, without a path; "" where it has none."""
    where = seen_from_here(peer, dialled)
    scheme = "https" if peer.facts.get("scheme") == "https" else "http"
    return f"{scheme}://{where}" if where else ""


def seen_from_here(peer: Peer, dialled: str) -> str:
    """The registry's HTTP address; where it only knows itself by loopback, at the host that was dialled."""
    text = peer.facts.get("http", "")
    try:
        address = Address.parse(text)
    except Invalid:
        return text
    host = host_of(dialled) or peer.peer_host()
    return str(reachable(address, host)) if host else text
