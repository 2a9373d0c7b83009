"""What answers the registry's sessions: owners' and readers'."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deployd.errors import Malformed, PermissionRefused, Refused
from deployd.model.registration import Registration
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.server import Conversations, Session
from deployd.registry.book import Seat
from deployd.registry.filter import Near, RowFilter
from deployd.registry.position import Position
from deployd.registry.service import Registry
from deployd.wire.documents import dump
from deployd.wire.lookup import Follow, ListRows, Query
from deployd.wire.paging import PAGE_BYTES, Assembly
from deployd.wire.registry import Attach, Leave, Publish, Update

MAX_WAIT = 60.0

ANONYMOUS = frozenset({"read"})

# A publication may not grow further than what the book would ever take.
MAX_PUBLISHED = 20_000


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

    @responder(ListRows)
    def list_rows(self, namespace: str, app: str, release: str, role: str, after: str) -> dict[str, Any]:
        rows = self._registry.rows(RowFilter(namespace, app, release, role), after)
        return self._page((row.id, row) for row in rows)

    @responder(Query)
    async def query(self, match: str, near: str, wait: float, after: str, **rest: Any) -> dict[str, Any]:
        wanted = RowFilter.parse(match, **rest)
        found = Near.parse(near)
        if wait > 0:
            await self._registry.wait(wanted, min(wait, MAX_WAIT), self._address)
        return self._page(self._registry.query(wanted, found, after)) | {"revision": self._registry.revision}

    @responder(Follow)
    async def follow(
        self, position: str, wait: float, match: str, namespace: str, app: str, release: str
    ) -> dict[str, Any]:
        wanted = RowFilter.parse(match, namespace, app, release)
        page = await self._registry.follow(Position.parse(position), wanted, wait, self, self._address)
        return {"lines": page.text, "position": str(page.position), "whole": page.whole, "revision": page.revision}

    def _page(self, found: Iterable[tuple[str, Registration]]) -> dict[str, Any]:
        """As many rows as fit, each given with its place."""
        page: list[dict[str, Any]] = []
        size, last = 0, ""
        for place, row in found:
            document = self._registry.document(row)
            size += len(dump(document)) + 1
            if page and size > PAGE_BYTES:
                return {"rows": page, "next": last}
            page.append(document)
            last = place
        return {"rows": page, "next": ""}

    def closed(self) -> None:
        self._registry.stop_watching(self)


class OwnerSession(ReaderSession):
    """The responders of a "register" session: one owner's, for as long as no newer one takes over."""

    def __init__(self, registry: Registry, peer: Peer, session: Session) -> None:
        super().__init__(registry, session)
        self._peer = peer
        self._session = session
        self._seat: Seat | None = None
        self._parts: Assembly[Registration] = Assembly()

    @responder(Attach)
    def attach(self, name: str, credential: bytes, advertise: str) -> dict[str, Any]:
        if self._seat is not None:
            raise Malformed("a second Attach in one session")
        if not (self._session.proven or self._session.authorized):
            raise PermissionRefused("registering needs the secret")
        self._seat = self._registry.attach(
            self._session.owner, name, credential, advertise, self._session.host, self._hang_up
        )
        return {"host": self._seat.host, "revision": self._registry.revision}

    @responder(Publish)
    def publish(self, part: int, parts: int, rows: tuple[Registration, ...]) -> dict[str, Any]:
        seat = self._attached()
        self._registry.working(seat)
        if part and self._parts.held + len(rows) > MAX_PUBLISHED:
            self._parts = Assembly()
            raise Refused(f"more than {MAX_PUBLISHED} rows in one publication")
        whole = self._parts.add(part, parts, rows)
        if whole is None:
            return {"revision": self._registry.revision}
        return {"revision": self._registry.publish(seat, whole)}

    @responder(Update)
    def update(self, put: tuple[Registration, ...], free: tuple[str, ...]) -> dict[str, Any]:
        return {"revision": self._registry.update(self._attached(), put, free)}

    @responder(Leave)
    def leave(self) -> dict[str, Any]:
        self._registry.leave(self._attached())
        return {}

    def closed(self) -> None:
        super().closed()
        if self._seat is not None:
            self._registry.lost(self._seat)

    def _attached(self) -> Seat:
        if self._seat is None:
            raise Malformed("Attach comes first")
        return self._seat

    def _hang_up(self) -> None:
        self._peer.hang_up()
