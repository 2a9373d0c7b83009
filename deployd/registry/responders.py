"""What answers the registry's sessions: owners' and readers'."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from functools import lru_cache
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from deployd.errors import Busy, Malformed, PermissionRefused
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.server import Conversations, Session
from deployd.registry.book import Transaction
from deployd.registry.earlier import Place
from deployd.registry.filter import Near, RowFilter
from deployd.registry.owner import Seat
from deployd.registry.publication import Publication
from deployd.registry.service import Registry
from deployd.registry.waiting import MAX_WAIT
from deployd.wire.documents import dump
from deployd.wire.lookup import Follow, ListRows, Query, Watch
from deployd.wire.paging import PAGE_BYTES
from deployd.wire.registry import Attach, Confirm, Leave, Publish, Update

# So many rows are looked at for one page: a few milliseconds, whatever is asked for.
LOOKED = 2_000
# Filters whose words are no longer than this together are remembered.
MAX_KNOWN = 500

ANONYMOUS = frozenset({"read"})

T = TypeVar("T")


def conversations(registry: Registry) -> Conversations:
    """The sessions that a registry has; "read" may go without the secret."""
    return {
        "read": lambda peer, session: ReaderSession(registry, session),
        "register": lambda peer, session: OwnerSession(registry, peer, session),
    }


class ReaderSession(Conversation):
    """The responders of a "read" session; it needs no secret and changes nothing."""

    def __init__(self, registry: Registry, session: Session) -> None:
        self._registry = registry
        self._address = session.host
        self._waiting: set[Deferred[Any]] = set()

    @responder(ListRows)
    def list_rows(self, namespace: str, app: str, release: str, role: str, after: str) -> dict[str, Any]:
        wanted = RowFilter(namespace, app, release, role)
        # Nobody is near, so all places are those of the rest.
        page = self._page(self._registry.places(wanted, Near(), f"1{after}" if after else ""))
        return page | {"next": page["next"][1:]}

    @responder(Query)
    async def query(self, match: str, near: str, wait: float, after: str, **rest: Any) -> dict[str, Any]:
        wanted = RowFilter.parse(match, **rest)
        found = Near.parse(near)
        if wait > 0:
            await self._while_here(self._registry.wait(wanted, min(wait, MAX_WAIT), self._address))
        return self._page(self._registry.places(wanted, found, after)) | {"revision": self._registry.revision}

    @responder(Follow)
    async def follow(
        self, position: str, wait: float, match: str, namespace: str, app: str, release: str
    ) -> dict[str, Any]:
        wanted = _followed(match, namespace, app, release)
        place = self._registry.position(position)
        page = await self._while_here(self._registry.follow(place, wanted, wait, self, self._address))
        return {"lines": page.text, "position": str(page.position), "whole": page.whole, "revision": page.revision}

    @responder(Watch)
    async def watch(self, position: str, wait: float) -> dict[str, Any]:
        place = Place.parse(position)
        page = await self._while_here(self._registry.follow(place.position, RowFilter(), wait, self, self._address))
        return place.answer(page, self._registry.revision)

    def _page(self, places: Iterator[tuple[str, Registration | None]]) -> dict[str, Any]:
        """As many rows as fit, each given with its place; a page may be empty and not the last one."""
        page: list[bytes] = []
        size, last = 0, ""
        for looked, (place, row) in enumerate(places):
            if looked >= LOOKED:
                return {"rows": _joined(page), "next": last}
            if row is not None:
                text = dump(self._registry.document(row))
                size += len(text) + 1
                if page and size > PAGE_BYTES:
                    return {"rows": _joined(page), "next": last}
                page.append(text)
            last = place
        return {"rows": _joined(page), "next": ""}

    def closed(self) -> None:
        for waiting in list(self._waiting):
            waiting.cancel()
        self._registry.stop_watching(self)

    async def _while_here(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``, given up when the connection is gone: there are only so many places for those who wait."""
        waiting = Deferred.fromCoroutine(work)
        self._waiting.add(waiting)
        try:
            return await waiting
        except CancelledError:
            raise Busy("nobody waits for this any more") from None
        finally:
            self._waiting.discard(waiting)


class OwnerSession(ReaderSession):
    """The responders of a "register" session: one owner's, for as long as no newer one takes over."""

    def __init__(self, registry: Registry, peer: Peer, session: Session) -> None:
        super().__init__(registry, session)
        self._peer = peer
        self._session = session
        self._seat: Seat | None = None
        self._publication = Publication(registry.publications)

    @responder(Attach)
    async def attach(self, name: str, credential: bytes, advertise: str) -> dict[str, Any]:
        if self._seat is not None:
            raise Malformed("a second Attach in one session")
        if not (self._session.proven or self._session.authorized):
            raise PermissionRefused("registering needs the secret")
        self._seat = self._registry.attach(
            self._session.owner, name, credential, advertise, self._session.host, self._hang_up
        )
        stands = await self._registry.stands(self._seat)
        return {"host": self._seat.host, "revision": self._registry.revision, "stands": stands}

    @responder(Publish)
    def publish(self, part: int, parts: int, rows: tuple[Registration, ...]) -> Any:
        seat = self._attached()
        self._registry.working(seat)
        whole = self._publication.add(part, parts, self._registry.admit(seat, rows))
        if whole is None:
            return {"revision": self._registry.revision}
        return self._registry.replace(seat, whole).addCallback(_answer)

    @responder(Confirm)
    def confirm(self, stands: Revision) -> Deferred[dict[str, Any]]:
        return self._registry.confirm(self._attached(), stands).addCallback(_answer)

    @responder(Update)
    def update(self, put: tuple[Registration, ...], free: tuple[str, ...]) -> Deferred[dict[str, Any]]:
        return self._registry.update(self._attached(), put, free).addCallback(_answer)

    @responder(Leave)
    def leave(self) -> Deferred[dict[str, Any]]:
        return self._registry.leave(self._attached()).addCallback(lambda _: {})

    def closed(self) -> None:
        super().closed()
        self._publication.drop()
        if self._seat is not None:
            self._registry.lost(self._seat)

    def _attached(self) -> Seat:
        if self._seat is None:
            raise Malformed("Attach comes first")
        return self._seat

    def _hang_up(self) -> None:
        self._peer.hang_up()


def _followed(match: str, namespace: str, app: str, release: str) -> RowFilter:
    """Thousands follow the same, and say so again each time."""
    parse = _known if len(match) + len(namespace) + len(app) + len(release) < MAX_KNOWN else RowFilter.parse
    return parse(match, namespace, app, release)


@lru_cache(maxsize=1024)
def _known(match: str, namespace: str, app: str, release: str) -> RowFilter:
    return RowFilter.parse(match, namespace, app, release)


def _joined(texts: list[bytes]) -> bytes:
    return b"[" + b",".join(texts) + b"]"


def _answer(done: Transaction) -> dict[str, Any]:
    return {"revision": done.revision, "stands": Revision(done.revision.epoch, done.stands)}
